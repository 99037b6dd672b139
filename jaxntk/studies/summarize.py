"""From the rows of a run to its summary: how well each metric ranks the architectures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxntk.metrics import METRICS, Status, ranking_values
from jaxntk.results.correlation import correlate
from jaxntk.runs.finished import mean_over_rows
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import Space, groups, written
from jaxntk.studies.config import ExperimentConfig
from jaxntk.studies.truth import truth_source

ByKey = Mapping[tuple, Mapping[str, Any]]


@dataclass(frozen=True)
class Rows:
    """All rows of some architectures, in their order.

    Args:
        scores: for each its rows of ``scores.jsonl``, one an initialisation.
        truths: for each its row of ``truth.jsonl``.
    """

    scores: Sequence[Sequence[Mapping[str, Any]]]
    truths: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        archs: Int[np.ndarray, "num genes"],
        scores: ByKey,
        truths: ByKey,
    ) -> "Rows":
        """Puts rows into the order of architectures.

        Args:
            config: names space and initialisations.
            archs: the encodings.
            scores: rows of ``scores.jsonl`` by written form and seed; none is missing.
            truths: rows of ``truth.jsonl`` by written form; none is missing.

        Returns:
            The rows of these architectures.
        """
        names = [written(SPACES[config.space], arch) for arch in archs]
        ordered = [[scores[name, seed] for seed in config.init_seeds] for name in names]
        return cls(ordered, [truths[(name,)] for name in names])

    @property
    def accuracy(self) -> Float[np.ndarray, " num"]:
        """Accuracy of each architecture, in percent."""
        return np.array([row["accuracy"] for row in self.truths])


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run has cost, besides what its rows say.

    Args:
        compilations: how often the kernel was compiled.
        compile_seconds: how long that took.
        total_seconds: how long the process ran that ended the run.
        estimate_bytes: what the executable holds at once; None where it is not known.
        peak_rss_bytes: the most memory the process has held.
    """

    compilations: int
    compile_seconds: float
    total_seconds: float
    estimate_bytes: int | None
    peak_rss_bytes: int

    @classmethod
    def together(cls, costs: Sequence["Cost"]) -> "Cost":
        """Adds up the costs of the parts of a run.

        Args:
            costs: one a part, at least one.

        Returns:
            The sum of compilations and times, and the largest memory of any part.
        """
        estimates = [cost.estimate_bytes for cost in costs if cost.estimate_bytes is not None]
        return cls(
            compilations=sum(cost.compilations for cost in costs),
            compile_seconds=sum(cost.compile_seconds for cost in costs),
            total_seconds=sum(cost.total_seconds for cost in costs),
            estimate_bytes=max(estimates, default=None),
            peak_rss_bytes=max(cost.peak_rss_bytes for cost in costs),
        )


def summarize(
    config: ExperimentConfig, experiment: str, rows: Rows, data: Mapping[str, Any], cost: Cost
) -> dict[str, Any]:
    """Builds the summary of a run whose rows are complete.

    Args:
        config: the configuration.
        experiment: its name.
        rows: the rows of all architectures.
        data: what is said of the images.
        cost: what the run has cost.

    Returns:
        The content of ``summary.json``.
    """
    return {
        "experiment": experiment,
        "truth": describe_truth(truth_source(config), rows.accuracy),
        "num_archs": len(rows.truths),
        "num_inits": config.num_inits,
        "data": dict(data),
        **correlations(SPACES[config.space], rows.scores, rows.accuracy, config.metrics),
        "compilations": cost.compilations,
        "seconds": {
            "compile": cost.compile_seconds,
            "score": sum(row["seconds"] for cell in rows.scores for row in cell),
            "truth": sum(row["seconds"] for row in rows.truths),
            "total": cost.total_seconds,
        },
        "memory": {
            "estimate_bytes": cost.estimate_bytes,
            "peak_rss_bytes": cost.peak_rss_bytes,
        },
    }


def telling_cells(rows: Rows) -> dict[str, int]:
    """Picks the most and the least accurate architecture, whose kernels the report shows.

    Those whose kernel is zero are passed over: there is nothing to see. The first of equals counts.

    Args:
        rows: the rows of all architectures.

    Returns:
        The positions of the ``best`` and the ``worst``.
    """
    zero = [
        any(score["status"] == Status.ZERO_KERNEL for score in cell[0]["metrics"].values())
        for cell in rows.scores
    ]
    visible = np.flatnonzero(~np.array(zero)) if not all(zero) else np.arange(len(zero))
    truth = rows.accuracy[visible]
    return {"best": int(visible[truth.argmax()]), "worst": int(visible[truth.argmin()])}


def correlations(
    space: Space,
    score_rows: Sequence[Sequence[Mapping[str, Any]]],
    truth: Float[np.ndarray, " num"],
    metrics: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Correlates every metric and every baseline with the truth.

    Args:
        space: of the architectures.
        score_rows: for each its rows, one an initialisation.
        truth: accuracy of each, in percent.
        metrics: names of the metrics.

    Returns:
        ``{"metrics": {name: entry}, "baselines": {name: entry}}``, entries as
        :meth:`~jaxntk.results.correlation.Correlation.to_dict` gives them.
    """
    archs = [space.read(rows[0]["arch"]) for rows in score_rows]
    # In an order of their own, so that resamples do not depend on that of the rows.
    order = sorted(range(len(archs)), key=lambda index: archs[index].tolist())
    score_rows, truth = [score_rows[index] for index in order], truth[order]
    copies = groups(space, np.stack([archs[index] for index in order]))
    entries: dict[str, dict[str, Any]] = {"metrics": {}, "baselines": {}}
    for name in metrics:
        scores = [mean_over_rows(rows, name) for rows in score_rows]
        higher = METRICS[name].higher_is_better
        invalid = sum(not score.valid for score in scores)
        values = ranking_values(scores, higher)
        found = correlate(values, truth, invalid=invalid, groups=copies)
        entries["metrics"][name] = found.to_dict(higher_is_better=higher)
    for name in space.baselines:
        values = np.array([rows[0][name] for rows in score_rows], dtype=np.float64)
        found = correlate(values, truth, invalid=0, groups=copies)
        entries["baselines"][name] = found.to_dict(higher_is_better=True)
    return entries


def describe_truth(source: str, truth: Float[np.ndarray, " num"]) -> dict[str, Any]:
    """Summarises the ground truth.

    Args:
        source: where it comes from.
        truth: accuracy of each architecture, in percent.

    Returns:
        Source, number of architectures, and least, median and largest accuracy.
    """
    return {
        "source": source,
        "n": len(truth),
        "min": float(truth.min()),
        "median": float(np.median(truth)),
        "max": float(truth.max()),
    }
