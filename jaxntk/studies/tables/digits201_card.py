"""The figures of Digits-201's data card, read off the table: spread, ceiling, baselines."""

import numpy as np

from jaxntk.data.digits201 import Digits201Table
from jaxntk.spaces import nasbench201
from jaxntk.studies.tables.card import (
    QUANTILES,
    agreement_lines,
    plain_tau,
    reachable,
    tau_of,
    taus_of,
    trainings_lines,
)
from jaxntk.studies.tables.digits201 import MORE_SEEDS, SEEDS, distinct_functions


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
    lines = {
        "functions": f"{len(functions)}, {len(connected)} of them connect input and output",
    } | trainings_lines(trainings)
    lines |= {
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
    return lines | taus_of("of the final test accuracy with", everything, valid | counts)


def _ceilings(table: Digits201Table, functions: np.ndarray) -> dict[str, str]:
    """Taus between trainings, between means of three, and what a score without noise may reach."""
    lines = agreement_lines(table.trainings, table.functions(functions), SEEDS)
    repeated = functions[table.has_seed(functions, MORE_SEEDS[0])]
    means = [
        np.mean([table.accuracy(repeated, "test", seed=seed) for seed in seeds], axis=0)
        for seeds in (SEEDS, MORE_SEEDS)
    ]
    name = f"agreement of two means of three trainings: tau, {len(repeated)} functions"
    lines[name] = tau_of(means[0], means[1])
    # A mean of three is one noisy reading of the truth: two of them agree less than the truth does
    # with one.
    reached = reachable(plain_tau(means[0], means[1]))
    name = "ceiling: tau that a score without noise may reach with such a mean"
    return lines | {name: f"{reached:.2f}"}
