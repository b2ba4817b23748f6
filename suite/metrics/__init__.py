"""Metrics: short pure functions of a trained network, its training set and its probes.

A metric file needs one import: `from suite.metrics import Estimate, Run, metric`.
"""

from suite.curvature.estimate import Estimate
from suite.metrics.registry import Metric, find_metrics, metric
from suite.metrics.run import Run

__all__ = ["Estimate", "Metric", "Run", "find_metrics", "metric"]
