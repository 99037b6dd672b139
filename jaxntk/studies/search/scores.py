"""Scores of architectures that a search asks for: each is scored once, whoever asks for it.

A row of ``scores.jsonl`` is one kernel of one architecture after some epochs, as in
:mod:`jaxntk.studies.over_epochs_rows`. Of architectures that are the same with their weights (a
space's ``function``) its representative is scored, so that a score does not depend on who asked.
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

from jaxntk.data.images import load_images
from jaxntk.data.truths import find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import NTK
from jaxntk.metrics import Score
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.row_store import ADOPTED, RowStore
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import written
from jaxntk.studies.config import SIZES
from jaxntk.studies.over_epochs import make_study
from jaxntk.studies.over_epochs_rows import (
    CHECKPOINTS,
    KEYS,
    Chunk,
    chunk_rows,
    compile_programs,
    validation_accuracy,
)
from jaxntk.studies.readings import TABLE, Reading
from jaxntk.studies.search.config import SearchConfig
from jaxntk.studies.search.options import SearchOptions

Rows = dict[tuple[int, str], dict[str, Any]]
"""Rows of one architecture by their epochs and kernels."""
NOT_OF_SCORES = (
    *("truth", "archs", "num_archs", "arch_seed", "num_seeds"),
    *("epochs", "kernels", "metrics", *SIZES, *LOCATIONS),
    *(field.name for field in fields(SearchOptions)),
)
"""Fields that no row depends on as they are: rows are of one seed, with all metrics."""


def settings_of_rows(config: SearchConfig) -> dict[str, Any]:
    """Lists the settings that rows depend on, images apart.

    Args:
        config: the configuration.

    Returns:
        JSON values by name; the same for all searches that may share their rows.
    """
    asked = config.reading.to_json()
    settings = {name: value for name, value in asked.items() if name not in NOT_OF_SCORES}
    constant = config.training.schedule == "constant"
    settings["schedule_epochs"] = None if constant else config.reading.epochs_of_schedule
    return settings | config.sizes


class ArchScores:
    """Scores any architectures by the goals of a configuration; keeps what was scored, on disk."""

    def __init__(self, config: SearchConfig, out: Path, console: Console) -> None:
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
        self._space = SPACES[config.space]
        none = np.zeros((0, len(self._space.sizes)), np.int32)
        images = load_images(config.data, data_dir=config.data_dir)
        study = make_study(config.reading, images, none, None)
        self.study = replace(study, filled_to=config.chunk)
        self._programs: Any = None
        self._check_labels()
        if study.valid is None and any(goal.name == "valid_accuracy" for goal in config.parsed):
            cure = "these data have no validation images: give --validation-images"
            raise InputError("goals", "valid_accuracy", cure)
        table = find_table(config.data_dir, config.table)
        self._tables = {
            goal.name: table_look_up(goal.name.removeprefix(TABLE), self._space, table)
            for goal in config.parsed
            if goal.name.startswith(TABLE)
        }
        self._found: dict[str, Rows] = {}
        about = settings_of_rows(config) | {"data_sha256": self.study.images_digest}
        self._store = RowStore(out, KEYS, config.cache, about)

    def _check_labels(self) -> None:
        """Refuses alignment with labels that are all different.

        Raises:
            InputError: no class has two images.
        """
        aligned = [goal.name for goal in self.config.parsed if goal.name.startswith("lga")]
        labels = self.study.job.batch.y
        if aligned and np.unique(labels).size == labels.size:
            cure = f"{aligned[0]} needs several images of a class: give more, or --batch-classes"
            raise InputError("num_images", self.config.num_images, cure)

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
        """Architectures that were scored, by this run or by one before it."""
        return len(self._found)

    @property
    def adopted(self) -> int:
        """Architectures of which another run has computed a row, read from the cache."""
        return sum(any(ADOPTED in row for row in rows.values()) for rows in self._found.values())

    @property
    def trains(self) -> bool:
        """Whether any goal needs a network."""
        return any(goal.epochs is not None for goal in self.config.parsed)

    def form(self, arch: Int[np.ndarray, " genes"]) -> str:
        """Names what is scored once.

        Args:
            arch: an encoding.

        Returns:
            The same for architectures that share their scores.
        """
        return self._space.function(arch)

    def seconds(self, arch: Int[np.ndarray, " genes"]) -> float:
        """Says what scoring took: the training, and the kernels and tests that a goal reads.

        Args:
            arch: an architecture that was scored.

        Returns:
            Seconds, of whichever run did it; 0 for what needs no network. Compilation is not in
            them.
        """
        rows = self._found.get(self.form(arch), {})
        if not rows:
            return 0.0
        goals = self.config.parsed
        read = [rows[goal.epochs or 0, goal.kernel] for goal in goals if goal.kernel is not None]
        # A kernel that several ViNTKs are made of is computed once.
        parts = {
            (row["epochs"], name): seconds for row in read for name, seconds in row["parts"].items()
        }
        metrics = {(row["epochs"], row["kernel"]): row["metric_seconds"] for row in read}
        tests = {goal.epochs for goal in goals if goal.name == "valid_accuracy"}
        tested = {epoch: row["test_seconds"] for (epoch, _), row in rows.items() if epoch in tests}
        spent = sum(sum(each.values()) for each in (parts, metrics, tested))
        return rows[max(rows)]["train_seconds"] + spent

    def __call__(self, archs: Int[np.ndarray, "num genes"]) -> Float64[np.ndarray, "num goals"]:
        """Scores architectures, every goal in its good direction; NaN where a score is invalid.

        Args:
            archs: the encodings.

        Returns:
            A row an architecture.

        Raises:
            InputError: a kernel that does not fit into memory, or a folder that cannot be written.
        """
        if self.trains:
            self._compute(archs)
        columns = [self._column(goal, archs) for goal in self.config.parsed]
        return np.stack(columns, axis=1)

    def _compute(self, archs: Int[np.ndarray, "num genes"]) -> None:
        """Trains and scores what was not asked for before."""
        wanted: dict[str, Int[np.ndarray, " genes"]] = {}
        for arch in archs:
            form = self.form(arch)
            if form not in wanted and not self._known(form):
                wanted[form] = self._space.representative(form)
        if wanted and self._programs is None:
            self._programs = compile_programs(self.study, self._out, self._console)
            self._warm_up()
        size = self.config.chunk
        cells = list(wanted.values())
        for start in range(0, len(cells), size):
            self._score(cells[start : start + size])

    def _known(self, form: str) -> bool:
        """Says whether all kernels were taken after all epochs, here or by another run."""
        reading = self.config.reading
        wanted = {(epoch, name) for epoch in reading.epochs for name in reading.variants(epoch)}
        if wanted <= set(self._found.get(form, {})):
            return True
        arch = written(self._space, self._space.representative(form))
        keys = [(arch, reading.seed, epoch, reading.modes[0], name) for epoch, name in wanted]
        if not set(keys) <= set(self._store.shared):
            return False
        for key in keys:
            self._store.adopt(key)
            self._keep(self._store.rows[key])
        return True

    def _keep(self, row: dict[str, Any]) -> None:
        if not {"metrics", "parts", "metric_seconds"} <= set(row):
            got = f"{self._out}, a row of {row['arch']} that is not whole"
            raise InputError("out", got, "remove that row: what is missing is scored again")
        form = self.form(self._space.read(row["arch"]))
        self._found.setdefault(form, {})[row["epochs"], row["kernel"]] = row

    def _warm_up(self) -> None:
        """Trains, tests and scores an architecture: no row's seconds have what comes once."""
        line = "compiling training and tests, and running everything once ..."
        self._console.print(line, highlight=False)
        training, size = self._programs.training, self.config.chunk
        archs = jnp.zeros((size, len(self._space.sizes)), jnp.int32)
        states: Any = training.init([self.config.seed] * size) if self.study.tests else None
        if self.study.last_epoch:
            states, _ = training.epoch(states, archs, self.study.x_train, self.study.y_train)
        if self.study.valid is not None:
            validation_accuracy(self.study, self._programs, states, archs)
        if NTK in self.config.reading.kernels:
            for kernels in self._programs.kernels.values():
                kernels.prepare(np.asarray(archs[0]), init_seed=self.config.seed)
        jax.block_until_ready(states)

    def _score(self, cells: Sequence[Int[np.ndarray, " genes"]]) -> None:
        stacked = np.stack(cells)
        jobs = {mode: replace(job, archs=stacked) for mode, job in self.study.jobs.items()}
        study = replace(self.study, jobs=jobs)
        chunk, done = Chunk(self.config.seed, 0), set(self._store.rows)
        for rows in chunk_rows(study, chunk, self._programs, self._out, done):
            for row in rows:
                if tuple(row[key] for key in KEYS) not in done:
                    self._store.add(row)
                    self._keep(row)

    def _column(
        self, goal: Reading, archs: Int[np.ndarray, "num genes"]
    ) -> Float64[np.ndarray, " num"]:
        if goal.name in self._tables:
            return self._tables[goal.name](archs)
        if goal.name in self._space.baselines:
            return np.asarray(getattr(self.study.job.costs(archs), goal.name), np.float64)
        sign = 1.0 if goal.higher_is_better else -1.0
        if goal.kernel is not None:
            rows = [self._found[self.form(arch)][goal.epochs or 0, goal.kernel] for arch in archs]
            scores = [Score.from_json(row["metrics"][goal.name]) for row in rows]
            return np.array([sign * s.value if s.valid else np.nan for s in scores], np.float64)
        rows = [self._found[self.form(arch)][goal.epochs or 0, NTK] for arch in archs]
        return np.array(
            [
                np.nan if row[goal.name] is None or not row["finite"] else sign * row[goal.name]
                for row in rows
            ],
            np.float64,
        )
