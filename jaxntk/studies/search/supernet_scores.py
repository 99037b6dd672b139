"""Scores of supernets that a pruning asks for: one row is one supernet at one initialisation.

A row holds every metric of the kernel and does not name the pruning that asked: prunings by other
goals share it, through a cache also those of other runs.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float64
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.kernels.program import CompiledKernel, compile_program, kernel_program
from jaxntk.metrics import METRICS, Score, evaluate
from jaxntk.networks.nasbench201_model import supernet_model
from jaxntk.networks.nasbench201_supernet import Supernet
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.row_store import ADOPTED, RowStore
from jaxntk.runs.run_folder import digest_of
from jaxntk.runs.study import Rows
from jaxntk.spaces import nasbench201
from jaxntk.studies.job import Job
from jaxntk.studies.search.prune_config import UNUSED, PruneConfig

KEYS = ("supernet", "init_seed")
"""Fields that identify a row."""
NOT_OF_ROWS = (
    *("goals", "weights", "searches", "truth", "num_inits", "init_seed", "tile"),
    *UNUSED,
    "archs",
    *LOCATIONS,
)
"""Fields that no row depends on."""

Mask = Bool[np.ndarray, "6 5"]


def written(mask: Mask) -> str:
    """Writes a supernet as the operations left on each edge.

    Args:
        mask: edges and operations.

    Returns:
        Their digits, edges apart.

    Example:
        >>> written(np.eye(5, dtype=bool)[[0, 3, 3, 1, 2, 4]])
        '0-3-3-1-2-4'
    """
    return "-".join("".join(str(op) for op in np.flatnonzero(kept)) for kept in mask)


class SupernetScores:
    """Computes the rows that prunings ask for, each once; keeps them on disk."""

    def __init__(self, config: PruneConfig, job: Job, out: Path, console: Console) -> None:
        """Reads what is there; compiles nothing yet.

        Args:
            config: what is pruned, and by what.
            job: the images.
            out: folder of the run.
            console: told of what is compiled.

        Raises:
            InputError: damaged rows, or a cache that cannot be made.
        """
        self._config, self._job, self._console = config, job, console
        asked = config.to_json()
        about = {name: value for name, value in asked.items() if name not in NOT_OF_ROWS}
        about |= {"network": "supernet", "data_sha256": digest_of(job.batch.x, job.batch.y)}
        self._store = RowStore(out, KEYS, config.cache, about)
        self._store.read()
        self._kernel: CompiledKernel | None = None

    def __call__(self, search: int, mask: Mask) -> None:
        """Makes sure that the rows of a supernet are there.

        Args:
            search: the number of the pruning that asks.
            mask: the supernet.

        Raises:
            InputError: the kernel does not fit into memory, or a folder cannot be written to.
        """
        for seed in self._config.seeds(search):
            key = (written(mask), seed)
            if key not in self._store.rows and not self._store.adopt(key):
                if self._kernel is None:
                    self._kernel = _compiled(self._config, self._job, self._console)
                self._store.add(self._row(self._kernel, mask, seed))

    @property
    def rows(self) -> Rows:
        """Every row that is there, by supernet and seed."""
        return self._store.rows

    def _row(self, kernel: CompiledKernel, mask: Mask, seed: int) -> dict[str, Any]:
        variables = kernel.variables(seed)
        start = time.perf_counter()
        gram = kernel.of(variables, mask)
        scores = evaluate(gram, self._job.batch.y, tuple(METRICS))
        return {
            "supernet": written(mask),
            "init_seed": seed,
            "metrics": {name: score.to_json() for name, score in scores.items()},
            "seconds": time.perf_counter() - start,
        }


def _compiled(config: PruneConfig, job: Job, console: Console) -> CompiledKernel:
    network = Supernet(num_classes=job.dataset.num_classes, **config.sizes)
    program = kernel_program(supernet_model(network), job.settings, job.batch.x.shape)
    estimate = program.estimate()
    console.print(f"memory, estimated from shapes: {estimate}", highlight=False)
    if estimate.available is not None and estimate.peak.total > estimate.available:
        got = f"{config.num_images} images, which need {estimate}"
        raise InputError("num_images", got, "give fewer: a supernet's kernel has no tiles")
    console.print("compiling the kernel, once for all supernets ...", highlight=False)
    kernel = compile_program(program, job.batch.x)
    # No row's seconds have what comes once.
    kernel(np.ones((nasbench201.NUM_EDGES, len(nasbench201.OPS)), bool), config.init_seed)
    return kernel


def rows_of(config: PruneConfig, rows: Rows, search: int) -> Rows:
    """Picks the rows of one pruning.

    Args:
        config: says which initialisations it reads.
        rows: by supernet and seed.
        search: its number.

    Returns:
        Its rows.
    """
    return {key: row for key, row in rows.items() if key[1] in config.seeds(search)}


def adopted(rows: Rows) -> int:
    """Counts rows that another run had computed.

    Args:
        rows: of a run.

    Returns:
        How many.
    """
    return sum(ADOPTED in row for row in rows.values())


def told(
    config: PruneConfig, rows: Rows, search: int, masks: Bool[np.ndarray, "candidates 6 5"]
) -> Float64[np.ndarray, " candidates"]:
    """Makes the scores that a pruning is told: of each goal the mean over initialisations.

    Args:
        config: has goals, weights and seeds.
        rows: by supernet and seed.
        search: the number of the pruning.
        masks: the supernets.

    Returns:
        Scores as :func:`told_of`.
    """

    def value(mask: Mask, seed: int, goal: str) -> float:
        return _signed(Score.from_json(rows[written(mask), seed]["metrics"][goal]), goal)

    values = np.array([
        [[value(mask, seed, goal) for goal in config.goals] for seed in config.seeds(search)]
        for mask in masks
    ])
    return told_of(config, values.mean(axis=1))


def told_of(
    config: PruneConfig, values: Float64[np.ndarray, "candidates goals"]
) -> Float64[np.ndarray, " candidates"]:
    """Makes one score of all goals: the place by the score, or the weighted mean of places.

    Args:
        config: has the weights.
        values: every goal in its good direction; NaN for failures.

    Returns:
        Ranks from 1 among those that did not fail, so that no precision is lost; NaN where any goal
        failed.
    """
    ranks = scipy.stats.rankdata(values, axis=0, nan_policy="omit")
    weights = np.array(config.weights or (1.0,) * len(config.goals))
    return ranks @ (weights / weights.sum())


def _signed(score: Score, goal: str) -> float:
    sign = 1.0 if METRICS[goal].higher_is_better else -1.0
    return sign * score.value if score.valid else np.nan
