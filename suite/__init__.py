"""Sharpness Suite: measure what predicts generalization."""

__version__ = "0.1.0"
