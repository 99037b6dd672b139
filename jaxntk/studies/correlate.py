"""Holds the scores of a run against a ground truth chosen afterwards."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.runs import run_folder
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.config import ExperimentConfig, validate
from jaxntk.studies.score import KEYS
from jaxntk.studies.summarize import correlations, describe_truth

OWN = "own"


def correlate_run(out: Path, truth: str, table: str | None) -> dict[str, Any]:
    """Correlates the scores that a run has so far with a ground truth.

    Args:
        out: folder of the run, finished or not; what lacks an initialisation is left out.
        truth: ``own`` for the accuracies in the run's folder, or what a table holds.
        table: the table's file or folder; None for what the run's configuration names, or where
            ``JAXNTK_DATA`` points.

    Returns:
        A summary with ``experiment``, ``truth``, ``num_archs``, ``num_inits``, ``metrics`` and
        ``baselines``.

    Raises:
        InputError: no run, fewer than 2 complete architectures, or a truth that is not to be had.
    """
    record = run_folder.read_record(out, ExperimentConfig, validate)
    config = record.config
    space = SPACES[config.space]
    by_arch: dict[str, list[dict[str, Any]]] = {}
    for row in run_folder.rows_by_key(out / run_folder.SCORES, KEYS).values():
        by_arch.setdefault(row["arch"], []).append(row)
    complete = {arch: rows for arch, rows in by_arch.items() if len(rows) == config.num_inits}
    if truth == OWN:
        known = run_folder.rows_by_key(out / run_folder.TRUTH, ("arch",))
        complete = {arch: rows for arch, rows in complete.items() if (arch,) in known}
    if len(complete) < 2:
        raise InputError(
            "out", f"{out} with {len(complete)} complete architectures", "run it further"
        )
    if truth == OWN:
        accuracies = np.array([known[(arch,)]["accuracy"] for arch in complete])
        source = known[(next(iter(complete)),)]["source"]
    else:
        archs = np.stack([space.read(arch) for arch in complete])
        found = find_table(config.data_dir, table or config.table)
        look_up = table_look_up(truth, space, found)
        accuracies, source = look_up(archs), truth
    return {
        "experiment": record.experiment,
        "truth": describe_truth(source, accuracies),
        "num_archs": len(complete),
        "num_inits": config.num_inits,
        **correlations(space, list(complete.values()), accuracies, config.metrics),
    }
