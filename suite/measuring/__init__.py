"""Measuring: what is missing is scheduled, isolated in worker processes and recorded."""
