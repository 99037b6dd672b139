"""Scores of cells that a search asks for: each function is scored once, whoever asks for it.

A row of ``scores.jsonl`` is one cell after some epochs, as in
:mod:`jaxntk.studies.over_epochs_rows`. Of cells that compute one function with their weights tied
alike the first of the space is scored, so that a score does not depend on who asked.
"""

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int
from rich.console import Console

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, Score
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.row_store import ADOPTED, RowStore
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.over_epochs import prepare
from jaxntk.studies.over_epochs_rows import (
    CHECKPOINTS,
    KEYS,
    Chunk,
    chunk_rows,
    compile_programs,
    validation_accuracy,
)
from jaxntk.studies.score import kernel_row
from jaxntk.studies.search.cell_search_config import CellSearchConfig, Goal
from jaxntk.studies.search.options import TABLE, SearchOptions

Rows = dict[int, dict[str, Any]]
"""Rows of one function by their epochs."""
NOT_OF_SCORES = (
    *("truth", "archs", "num_archs", "arch_seed", "num_seeds", "epochs", "metrics", *LOCATIONS),
    *(field.name for field in fields(SearchOptions)),
)
"""Fields that no row depends on: rows are of one seed after so many epochs, with all metrics."""


def settings_of_rows(config: CellSearchConfig) -> dict[str, Any]:
    """Lists the settings that rows of cells depend on, images apart.

    Args:
        config: the configuration.

    Returns:
        JSON values by name; the same for all searches that may share their rows.
    """
    asked = config.reading.to_json()
    settings = {name: value for name, value in asked.items() if name not in NOT_OF_SCORES}
    constant = config.training.schedule == "constant"
    settings["schedule_epochs"] = None if constant else config.reading.epochs_of_schedule
    return settings


class CellScores:
    """Scores any cells by the goals of a configuration; keeps what was scored, on disk too."""

    def __init__(self, config: CellSearchConfig, out: Path, console: Console) -> None:
        """Loads data; compiles nothing yet.

        Args:
            config: the configuration.
            out: folder of the run.
            console: told of what is compiled.

        Raises:
            InputError: anything wrong with the data or a table.
        """
        self._out, self._console = out, console
        self.config = config
        # Any cells at all: they only say how large a chunk is.
        some = tuple(nasbench201.format_ops(nasbench201.from_index(at)) for at in range(2))
        study = prepare(replace(config.reading, archs=some))
        self.study = replace(study, filled_to=config.chunk)
        self._programs: Any = None
        if study.valid is None and any(goal.name == "valid_accuracy" for goal in config.parsed):
            cure = "these data have no validation images: give --validation-images"
            raise InputError("goals", "valid_accuracy", cure)
        table = find_table(config.data_dir, config.table)
        self._tables = {
            goal.name: table_look_up(goal.name.removeprefix(TABLE), SPACES[NASBENCH201], table)
            for goal in config.parsed
            if goal.name.startswith(TABLE)
        }
        self._found: dict[str, Rows] = {}
        about = settings_of_rows(config) | {"data_sha256": self.study.images_digest}
        self._store = RowStore(out, KEYS, config.cache, about)

    def resume(self) -> None:
        """Reads what was scored before in the folder of the run.

        Raises:
            InputError: damaged rows.
        """
        # What was being trained may be asked for in other company now: it begins anew.
        shutil.rmtree(self._out / CHECKPOINTS, ignore_errors=True)
        self._store.read()
        for row in self._store.rows.values():
            self._keep(row)

    @property
    def scored(self) -> int:
        """Functions that were trained and scored, by this run or by one before it."""
        return len(self._found)

    @property
    def adopted(self) -> int:
        """Functions of which another run has computed a row, read from the cache."""
        return sum(any(ADOPTED in row for row in rows.values()) for rows in self._found.values())

    @property
    def trains(self) -> bool:
        """Whether any goal needs a network."""
        return any(goal.epochs is not None for goal in self.config.parsed)

    def form(self, arch: Int[np.ndarray, "6"]) -> str:
        """Names the function that a cell computes where weights are tied alike.

        Args:
            arch: the cell.

        Returns:
            The same for cells that share their scores.
        """
        return nasbench201.tied_function_form(arch)

    def seconds(self, arch: Int[np.ndarray, "6"]) -> float:
        """Says what scoring a cell took: its training, and the kernels and tests that a goal reads.

        Args:
            arch: a cell that was scored.

        Returns:
            Seconds, of whichever run did it; 0 for what needs no network. Compilation is not in
            them.
        """
        rows = self._found.get(self.form(arch), {})
        if not rows:
            return 0.0
        kernels = {goal.epochs for goal in self.config.parsed if goal.name in METRICS}
        tests = {goal.epochs for goal in self.config.parsed if goal.name == "valid_accuracy"}
        read = sum(row["seconds"] for epoch, row in rows.items() if epoch in kernels)
        # Rows of an older version do not say what their test took.
        read += sum(row.get("test_seconds", 0.0) for epoch, row in rows.items() if epoch in tests)
        return rows[max(rows)]["train_seconds"] + read

    def __call__(self, archs: Int[np.ndarray, "num 6"]) -> Float64[np.ndarray, "num goals"]:
        """Scores cells, every goal in its good direction; NaN where a score is invalid.

        Args:
            archs: the cells.

        Returns:
            A row a cell.

        Raises:
            InputError: a kernel that does not fit into memory, or a folder that cannot be written.
        """
        if self.trains:
            self._compute(archs)
        columns = [self._column(goal, archs) for goal in self.config.parsed]
        return np.stack(columns, axis=1)

    def _compute(self, archs: Int[np.ndarray, "num 6"]) -> None:
        """Trains and scores functions that were not asked for before."""
        wanted: dict[str, Int[np.ndarray, "6"]] = {}
        for arch in archs:
            form = self.form(arch)
            if form not in wanted and not self._known(form):
                wanted[form] = nasbench201.tied_representative(form)
        if wanted and self._programs is None:
            self._programs = compile_programs(self.study, self._out, self._console)
            self._warm_up()
        size = self.config.chunk
        cells = list(wanted.values())
        for start in range(0, len(cells), size):
            self._score(cells[start : start + size])

    def _known(self, form: str) -> bool:
        """Says whether a function was scored after all epochs, here or by another run."""
        mode, epochs = self.config.batch_norms[0], set(self.config.reading.epochs)
        if epochs <= set(self._found.get(form, {})):
            return True
        arch = nasbench201.decode(nasbench201.tied_representative(form))
        keys = [(arch, self.config.seed, epoch, mode) for epoch in epochs]
        if not set(keys) <= set(self._store.shared):
            return False
        for key in keys:
            self._store.adopt(key)
            self._keep(self._store.rows[key])
        return True

    def _keep(self, row: dict[str, Any]) -> None:
        form = self.form(nasbench201.parse_ops(row["ops"]))
        self._found.setdefault(form, {})[row["epochs"]] = row

    def _warm_up(self) -> None:
        """Trains, tests and scores copies of a cell: no row's seconds have what comes once."""
        line = "compiling training and tests, and running everything once ..."
        self._console.print(line, highlight=False)
        training, size = self._programs.training, self.config.chunk
        archs = jnp.zeros((size, 6), jnp.int32)
        states = training.init([self.config.seed] * size)
        if self.study.last_epoch:
            states, _ = training.epoch(states, archs, self.study.x_train, self.study.y_train)
        if self.study.valid is not None:
            validation_accuracy(self.study, self._programs, states, archs)
        for mode, kernel in self._programs.kernels.items():
            first = np.asarray(archs[0])
            gram = kernel.at(jax.tree.map(lambda leaf: leaf[0], states.variables), first)
            kernel_row(self.study.jobs[mode], gram, first, 0, kernel.tile(first))
        jax.block_until_ready(states)

    def _score(self, cells: Sequence[Int[np.ndarray, "6"]]) -> None:
        stacked = np.stack(cells)
        jobs = {mode: replace(job, archs=stacked) for mode, job in self.study.jobs.items()}
        study = replace(self.study, jobs=jobs)
        chunk, done = Chunk(self.config.seed, 0), set(self._store.rows)
        for rows in chunk_rows(study, chunk, self._programs, self._out, done):
            for row in rows:
                if tuple(row[key] for key in KEYS) not in done:
                    self._store.add(row)
                    self._keep(row)

    def _column(self, goal: Goal, archs: Int[np.ndarray, "num 6"]) -> Float64[np.ndarray, " num"]:
        if goal.name in self._tables:
            return self._tables[goal.name](archs)
        if goal.name in ("params", "flops"):
            return np.asarray(getattr(self.study.job.costs(archs), goal.name), np.float64)
        rows = [self._found[self.form(arch)][goal.epochs or 0] for arch in archs]
        if goal.name in METRICS:
            sign = 1.0 if METRICS[goal.name].higher_is_better else -1.0
            scores = [Score.from_json(row["metrics"][goal.name]) for row in rows]
            return np.array([sign * s.value if s.valid else np.nan for s in scores], np.float64)
        sign = -1.0 if goal.name.startswith("loss") else 1.0
        return np.array(
            [
                np.nan if row[goal.name] is None or not row["finite"] else sign * row[goal.name]
                for row in rows
            ],
            np.float64,
        )
