"""Holds the scores of a run against a ground truth chosen afterwards."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.runs import run_folder
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.config import ExperimentConfig, validate
from jaxntk.studies.summarize import correlations, describe_truth

OWN = "own"


def correlate_run(out: Path, truth: str, table: str | None) -> dict[str, Any]:
    """Correlates the scores that a run has so far with a ground truth.

    Args:
        out: folder of the run, finished or not; cells that lack an initialisation are left out.
        truth: ``own`` for the accuracies in the run's folder, or what a table holds.
        table: the table's file or folder; None for what the run's configuration names, or where
            ``JAXNTK_DATA`` points.

    Returns:
        A summary with ``experiment``, ``truth``, ``num_archs``, ``num_inits``, ``metrics`` and
        ``baselines``.

    Raises:
        InputError: no run, fewer than 2 complete cells, or a truth that is not to be had.
    """
    record = run_folder.read_record(out, ExperimentConfig, validate)
    config = record.config
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in run_folder.rows_by_key(out / run_folder.SCORES, ("ops", "init_seed")).values():
        by_cell.setdefault(row["ops"], []).append(row)
    complete = {ops: rows for ops, rows in by_cell.items() if len(rows) == config.num_inits}
    if truth == OWN:
        known = run_folder.rows_by_key(out / run_folder.TRUTH, ("ops",))
        complete = {ops: rows for ops, rows in complete.items() if (ops,) in known}
    if len(complete) < 2:
        raise InputError("out", f"{out} with {len(complete)} complete cells", "run it further")
    if truth == OWN:
        accuracies = np.array([known[(ops,)]["accuracy"] for ops in complete])
        source = known[(next(iter(complete)),)]["source"]
    else:
        archs = np.stack([nasbench201.parse_ops(ops) for ops in complete])
        found = find_table(config.data_dir, table or config.table)
        look_up = table_look_up(truth, SPACES[NASBENCH201], found)
        accuracies, source = look_up(archs), truth
    return {
        "experiment": record.experiment,
        "truth": describe_truth(source, accuracies),
        "num_archs": len(complete),
        "num_inits": config.num_inits,
        **correlations(list(complete.values()), accuracies, config.metrics),
    }
