"""Kernel metrics: a Gram matrix and labels go in, a value with its validity comes out."""

from jaxntk.metrics.gram import LabelledGram
from jaxntk.metrics.registry import METRICS, Metric, evaluate
from jaxntk.metrics.score import Score, ranking_values
from jaxntk.validity import Status

__all__ = [
    "METRICS",
    "LabelledGram",
    "Metric",
    "Score",
    "Status",
    "evaluate",
    "ranking_values",
]
