"""The figures of Digits-201's data card, read off the table: spread, ceiling, baselines."""

from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxntk.data.digits201 import Digits201Table
from jaxntk.results.correlation import correlate
from jaxntk.results.text import interval, number
from jaxntk.spaces import nasbench201
from jaxntk.studies.digits201 import MORE_SEEDS, SEEDS, distinct_functions

QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def card(table: Digits201Table) -> dict[str, str]:
    """Describes the table.

    Args:
        table: the table.

    Returns:
        What is said, and by what it is called.
    """
    functions, _ = distinct_functions()
    connected = functions[[nasbench201.is_connected(cell) for cell in functions]]
    spread = np.percentile(table.accuracy(connected, "test"), QUANTILES)
    trainings = table.trainings
    seconds, hours = trainings.seconds.mean(), trainings.seconds.sum() / 3600
    lines = {
        "functions": f"{len(functions)}, {len(connected)} of them connect input and output",
        "trainings": f"{len(trainings.seed)}, {int((~trainings.finite).sum())} of them not finite",
        "seconds": f"{seconds:.2f} a training and core, {hours:.1f} h in all",
        f"test accuracy, connected, quantiles {QUANTILES}": ", ".join(f"{v:.1f}" for v in spread),
    }
    lines |= _ceilings(table, functions)
    everything, costs = table.accuracy(functions, "test"), table.costs(functions)
    valid = {
        f"validation accuracy after epoch {epoch}": table.accuracy(functions, "valid", epoch=epoch)
        for epoch in range(1, trainings.epochs + 1)
    }
    counts = {
        "#params": costs.params,
        "#FLOPs": costs.flops,
        "#convolutions": costs.convolutions,
    }
    return lines | _taus("of the final test accuracy with", everything, valid | counts)


def _ceilings(table: Digits201Table, functions: np.ndarray) -> dict[str, str]:
    """Taus between trainings, between means of three, and what a score without noise may reach."""
    single = [table.accuracy(functions, "test", seed=seed) for seed in SEEDS]
    lines = {
        f"agreement of two trainings: tau of {one + 1} and {other + 1}": _tau(
            single[one], single[other]
        )
        for one, other in ((0, 1), (0, 2), (1, 2))
    }
    repeated = functions[table.has_seed(functions, MORE_SEEDS[0])]
    means = [
        np.mean([table.accuracy(repeated, "test", seed=seed) for seed in seeds], axis=0)
        for seeds in (SEEDS, MORE_SEEDS)
    ]
    name = f"agreement of two means of three trainings: tau, {len(repeated)} functions"
    lines[name] = _tau(means[0], means[1])
    tau = float(scipy.stats.kendalltau(means[0], means[1])[0])  # pyright: ignore[reportArgumentType]
    # A mean of three is one noisy reading of the truth: two of them agree less than the truth does
    # with one. Their correlation of normal scores is sin(pi tau / 2), that of the truth its root.
    reached = 2 / np.pi * np.arcsin(np.sqrt(np.sin(np.pi * max(tau, 0.0) / 2)))
    lines["ceiling: tau that a score without noise may reach with such a mean"] = f"{reached:.2f}"
    deviation = np.sqrt(np.mean(np.var(single, axis=0, ddof=1)))
    return lines | {"standard deviation between trainings": f"{deviation:.2f} %"}


def _taus(head: str, truth: Float[np.ndarray, " num"], scores: dict[str, Any]) -> dict[str, str]:
    return {
        f"tau {head} {name}": _tau(np.asarray(score, np.float64), truth)
        for name, score in scores.items()
    }


def _tau(score: Float[np.ndarray, " num"], truth: Float[np.ndarray, " num"]) -> str:
    # Few resamples are enough for thousands of cells.
    found = correlate(score, truth, invalid=0, resamples=200)
    return f"{number(found.kendall, found.n)} ({interval(found.kendall_ci95, found.n)})"
