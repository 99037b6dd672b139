"""From the rows of a run to its summary: how well each metric ranks the cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxntk.metrics import METRICS, ranking_values
from jaxntk.results.correlation import correlate
from jaxntk.results.run_folder import mean_over_rows

BASELINES = ("params", "flops", "convolutions")
"""Trivial scores, all of them the higher the better."""


def correlations(
    score_rows: Sequence[Sequence[Mapping[str, Any]]],
    truth: Float[np.ndarray, " num"],
    metrics: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Correlates every metric and every baseline with the truth.

    Args:
        score_rows: for each cell its rows, one an initialisation.
        truth: accuracy of each cell, in percent.
        metrics: names of the metrics.

    Returns:
        ``{"metrics": {name: entry}, "baselines": {name: entry}}``, entries as
        :meth:`~jaxntk.results.correlation.Correlation.to_dict` gives them.
    """
    # In an order of their own, so that resamples do not depend on that of the rows.
    order = sorted(range(len(score_rows)), key=lambda index: score_rows[index][0]["ops"])
    score_rows, truth = [score_rows[index] for index in order], truth[order]
    entries: dict[str, dict[str, Any]] = {"metrics": {}, "baselines": {}}
    for name in metrics:
        scores = [mean_over_rows(rows, name) for rows in score_rows]
        higher = METRICS[name].higher_is_better
        invalid = sum(not score.valid for score in scores)
        found = correlate(ranking_values(scores, higher), truth, invalid=invalid)
        entries["metrics"][name] = found.to_dict(higher_is_better=higher)
    for name in BASELINES:
        values = np.array([rows[0][name] for rows in score_rows], dtype=np.float64)
        entries["baselines"][name] = correlate(values, truth, invalid=0).to_dict(
            higher_is_better=True
        )
    return entries


def describe_truth(source: str, truth: Float[np.ndarray, " num"]) -> dict[str, Any]:
    """Summarises the ground truth.

    Args:
        source: where it comes from.
        truth: accuracy of each cell, in percent.

    Returns:
        Source, number of cells, and least, median and largest accuracy.
    """
    return {
        "source": source,
        "n": len(truth),
        "min": float(truth.min()),
        "median": float(np.median(truth)),
        "max": float(truth.max()),
    }
