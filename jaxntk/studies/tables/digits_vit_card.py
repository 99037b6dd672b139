"""The figures of Digits-ViT's data card, read off the table: spread, agreement, baselines."""

from itertools import combinations

import numpy as np

from jaxntk.data.digits_vit import SPACE, DigitsViTTable, architectures, costs
from jaxntk.spaces import autoformer
from jaxntk.studies.tables.card import (
    QUANTILES,
    agreement_lines,
    plain_tau,
    reachable,
    taus_of,
    trainings_lines,
)
from jaxntk.studies.tables.digits_vit import MORE_SEEDS, SEED


def card(table: DigitsViTTable) -> dict[str, str]:
    """Describes the table.

    Args:
        table: the table.

    Returns:
        What is said, and by what it is called.
    """
    archs, trainings = architectures(), table.trainings
    accuracy, subjects = table.accuracy(archs, "test"), table.subjects(archs)
    spread = ", ".join(f"{value:.1f}" for value in np.percentile(accuracy, QUANTILES))
    lines = {"architectures": str(len(archs))} | trainings_lines(trainings)
    lines |= {f"test accuracy, quantiles {QUANTILES}": spread}
    repeated = subjects[trainings.has_seed(subjects, MORE_SEEDS[0])]
    seeds = (SEED, *MORE_SEEDS)
    lines |= {"repeated": f"{len(repeated)} architectures from {len(seeds)} seeds"}
    lines |= agreement_lines(trainings, repeated, seeds)
    single = [trainings.accuracy(repeated, "test", seed=seed) for seed in seeds]
    agreement = float(np.mean([plain_tau(*pair) for pair in combinations(single, 2)]))
    name = "ceiling: tau that a score without noise may reach with single trainings"
    lines[name] = f"{reachable(agreement):.2f}"
    sizes = [autoformer.decode(arch, SPACE) for arch in archs]
    epochs = {
        f"validation accuracy after epoch {epoch}": table.accuracy(archs, "valid", epoch=epoch)
        for epoch in range(1, trainings.epochs + 1)
    }
    counts = {
        "#params": costs(archs).params,
        "#FLOPs": costs(archs).flops,
        "embedding": [each.embed_dim for each in sizes],
        "depth": [each.depth for each in sizes],
    }
    return lines | taus_of("of the final test accuracy with", accuracy, epochs | counts)
