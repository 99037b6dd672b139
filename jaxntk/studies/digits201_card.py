"""The figures of Digits-201's data card, read off the table: spread, ceiling, baselines."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxntk.data.digits201 import Digits201Table
from jaxntk.results.correlation import correlate
from jaxntk.results.text import interval, number
from jaxntk.spaces import nasbench201
from jaxntk.studies.digits201 import SEEDS, distinct_functions

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
    spread = np.percentile(table.accuracy(connected, "test", seed=SEEDS[0]), QUANTILES)
    seconds = float(table.seconds.sum())
    lines = {
        "functions": f"{len(functions)}, {len(connected)} of them connect input and output",
        "trainings": f"{len(table.seed)}, {int((~table.finite).sum())} of them not finite",
        "seconds": f"{table.seconds.mean():.2f} a training and core, {seconds / 3600:.1f} h in all",
        f"test accuracy, connected, quantiles {QUANTILES}": ", ".join(f"{v:.1f}" for v in spread),
    }
    lines |= _ceilings(table, functions)
    everything = table.accuracy(functions, "test", seed=SEEDS[0])
    lines |= _taus(
        "of the final test accuracy with",
        everything,
        {
            "validation accuracy, same training": table.accuracy(functions, "valid", seed=SEEDS[0]),
            "#params": table.costs(functions).params,
            "#FLOPs": table.costs(functions).flops,
            "#convolutions": table.costs(functions).convolutions,
        }
        | {
            f"validation accuracy after epoch {epoch}": table.accuracy(
                functions, "valid", epoch=epoch, seed=SEEDS[0]
            )
            for epoch in range(1, table.epochs)
        },
    )
    return lines


def _ceilings(table: Digits201Table, functions: np.ndarray) -> dict[str, str]:
    """Taus between seeds, over all functions that have several."""
    repeated = functions[table.has_seed(functions, SEEDS[1])]
    accuracies = [table.accuracy(repeated, "test", seed=seed) for seed in SEEDS]
    lines = {
        f"ceiling: tau of trainings {one + 1} and {other + 1}, {len(repeated)} functions": _tau(
            accuracies[one], accuracies[other]
        )
        for one, other in ((0, 1), (0, 2), (1, 2))
    }
    deviation = np.sqrt(np.mean(np.var(accuracies, axis=0, ddof=1)))
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
