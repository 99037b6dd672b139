"""Prunes a NAS-Bench-201 supernet by kernels at initialisation until a cell is left.

Every row (:mod:`jaxntk.studies.search.supernet_scores`) is on disk before the next is begun, and
what was pruned follows from the rows: a run that is killed at any moment goes on to the same cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64, Int
from rich.console import Console

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.metrics import Score
from jaxntk.networks.precision import check_x64
from jaxntk.results.prune_plot import prune_figure, prune_table
from jaxntk.runs import run_folder
from jaxntk.runs.progress import track
from jaxntk.runs.publish import Publication
from jaxntk.runs.study import Rows, Study
from jaxntk.search import pruning
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.job import Job
from jaxntk.studies.job import prepare as prepare_job
from jaxntk.studies.search.prune_config import PruneConfig, validate_prune
from jaxntk.studies.search.report import levels_of
from jaxntk.studies.search.supernet_scores import (
    KEYS,
    Mask,
    SupernetScores,
    adopted,
    rows_of,
    told,
)

NAME = "prune_supernet"
FIGURE, TABLE = "prune_supernet.png", "prune_supernet.csv"
PRUNING = pruning(nasbench201.NUM_EDGES, len(nasbench201.OPS))
SUPERNETS = nasbench201.NUM_EDGES * sum(range(2, len(nasbench201.OPS) + 1))
"""Whose kernels a pruning asks for."""

ScoresOf = Callable[[Bool[np.ndarray, "candidates 6 5"]], Float64[np.ndarray, " candidates"]]


@dataclass(frozen=True, eq=False)
class Prunable:
    """Everything a configuration determines before the first kernel.

    Args:
        config: the configuration.
        job: the images.
        worth: accuracy of every cell of the space, in percent.
        digest: SHA-256 of images, labels and accuracies.
    """

    config: PruneConfig
    job: Job
    worth: Float64[np.ndarray, " space"]
    digest: str


def prepare(config: PruneConfig) -> Prunable:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        What is pruned.

    Raises:
        InputError: anything wrong with the configuration, the table or the data.
    """
    validate_prune(config)
    check_x64(config.dtype)
    job = prepare_job(config)
    look_up = table_look_up(
        config.truth, SPACES[NASBENCH201], find_table(config.data_dir, config.table)
    )
    worth = look_up(nasbench201.enumerate_space())
    digest = run_folder.digest_of(job.batch.x, job.batch.y, worth)
    return Prunable(config, job, worth, digest)


class Pruned(NamedTuple):
    """How a supernet was pruned.

    Args:
        masks: what was left after each round, from all operations to one on each edge.
        blind: rounds in which every score failed, so that nothing was decided by scores.
    """

    masks: list[Mask]
    blind: int


def prune(scores_of: ScoresOf) -> Pruned:
    """Prunes a supernet.

    Args:
        scores_of: of supernets; not finite where a score failed.

    Returns:
        What was left after each round.
    """
    mask, blind = PRUNING.init(), 0
    path = [np.asarray(mask)]
    for _ in range(PRUNING.rounds):
        masks, wanted = (np.asarray(each) for each in PRUNING.ask(mask))
        told = np.full(len(masks), np.nan)
        told[wanted] = scores_of(masks[wanted])
        blind += not np.isfinite(told).any()
        mask = PRUNING.tell(mask, jnp.asarray(told, jnp.float32))
        path.append(np.asarray(mask))
    return Pruned(path, blind)


def compute(prunable: Prunable, out: Path, console: Console) -> None:
    """Computes every row that is not there yet.

    Args:
        prunable: what is pruned.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the kernel does not fit into memory, or the folder cannot be written to.
    """
    config = prunable.config
    scores = SupernetScores(config, prunable.job, out, console)
    steps = iter(track(range(config.searches * SUPERNETS), "supernets", console))

    def scores_of(search: int, masks: Bool[np.ndarray, "candidates 6 5"]) -> Any:
        for mask in masks:
            next(steps)
            scores(search, mask)
        return told(config, scores.rows, search, masks)

    for search in range(config.searches):
        prune(lambda masks, search=search: scores_of(search, masks))
    next(steps, None)


def summarize(prunable: Prunable, rows: Rows, console: Console) -> dict[str, Any]:
    """Says which cell each pruning left, what it is worth and what it took.

    Args:
        prunable: what is pruned.
        rows: the rows by supernet and seed.
        console: not needed.

    Returns:
        The summary.
    """
    config = prunable.config
    params = prunable.job.costs(nasbench201.enumerate_space()).params
    paths = [
        prune(lambda masks, search=search: told(config, rows, search, masks))
        for search in range(config.searches)
    ]
    levels = levels_of(prunable.worth, params, SUPERNETS, config.init_seed)
    entries = [
        _entry(path, prunable.worth, rows_of(config, rows, search), levels["best_there_is"])
        for search, path in enumerate(paths)
    ]
    known = np.array([e["accuracy"] for e in entries if e["accuracy"] is not None])
    every = [
        Score.from_json(row["metrics"][goal]) for row in rows.values() for goal in config.goals
    ]
    return {
        "goals": list(config.goals),
        "searches": entries,
        "searches_without_score": len(entries) - len(known),
        "mean": float(known.mean()) if len(known) else None,
        "standard_deviation": float(known.std(ddof=1)) if len(known) > 1 else None,
        "of": config.truth,
        "levels": levels,
        "supernets_a_search": SUPERNETS,
        "kernels_a_search": SUPERNETS * config.num_inits,
        "kernels": len(rows),
        "kernels_from_cache": adopted(rows),
        "scores_failed": sum(not score.valid for score in every),
        "scores_told": len(every),
        "pruned_in_round": np.mean([np.sum(p.masks, axis=0) for p in paths], axis=0).tolist(),
    }


def _entry(
    path: Pruned,
    worth: Float64[np.ndarray, " space"],
    rows: Rows,
    best: float,
) -> dict[str, Any]:
    arch: Int[np.ndarray, "6"] = np.asarray(PRUNING.result(jnp.asarray(path.masks[-1])))
    # What no score decided is no choice.
    accuracy = None if path.blind else float(worth[nasbench201.index_of(arch)])
    return {
        "arch": nasbench201.decode(arch),
        "ops": nasbench201.format_ops(arch),
        "accuracy": accuracy,
        "regret": None if accuracy is None else best - accuracy,
        "rounds_without_score": path.blind,
        "seconds": sum(row["seconds"] for row in rows.values()),
    }


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes table and figure of a summary.

    Args:
        rows: not needed.
        summary: of :func:`summarize`.

    Returns:
        The cells, and in which round operations were pruned.
    """
    return Publication(
        tables={TABLE: summary["searches"]},
        figures={FIGURE: prune_figure(summary["pruned_in_round"], len(summary["searches"]))},
        shown=[prune_table(summary)],
    )


PRUNE = Study(NAME, KEYS, validate_prune, prepare, compute, summarize, report)
