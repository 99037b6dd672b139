"""Scores of vision transformers that a search asks for: each is scored once, whoever asks for it.

A row of ``scores.jsonl`` is one architecture and one kernel.
"""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from rich.console import Console

from jaxntk.data.batches import make_batch, resized, standardize
from jaxntk.data.images import load_images
from jaxntk.data.reduced import some_classes
from jaxntk.data.truths import table_look_up
from jaxntk.errors import InputError
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.program import KernelSettings
from jaxntk.metrics import METRICS, Score
from jaxntk.networks.precision import check_x64
from jaxntk.networks.registry import FAMILIES
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.row_store import ADOPTED, RowStore
from jaxntk.runs.run_folder import digest_of
from jaxntk.spaces.registry import PIT, SPACES
from jaxntk.studies.kernel_scores import scores_of
from jaxntk.studies.search.options import TABLE, SearchOptions
from jaxntk.studies.search.vit_search_config import VitGoal, VitSearchConfig

KEYS = ("arch", "kernel")
"""Fields that identify a row."""
NOT_OF_SCORES = (
    *("truth", "patch_size", "num_shape_classes", *LOCATIONS),
    *(field.name for field in fields(SearchOptions)),
)
"""Fields that no row depends on as they are: rows are of one kernel, with all metrics."""


def settings_of_rows(config: VitSearchConfig) -> dict[str, Any]:
    """Lists the settings that rows of transformers depend on, images apart.

    Args:
        config: the configuration.

    Returns:
        JSON values by name; the same for all searches that may share their rows.
    """
    asked = config.to_json()
    settings = {name: value for name, value in asked.items() if name not in NOT_OF_SCORES}
    settings["patch_size"] = config.patch
    if config.space == PIT:
        settings["num_shape_classes"] = config.num_shape_classes
    return settings


class VitScores:
    """Scores any transformers by the goals of a configuration; keeps what was scored, on disk."""

    def __init__(self, config: VitSearchConfig, out: Path, console: Console) -> None:
        """Loads data; compiles nothing yet.

        Args:
            config: the configuration.
            out: folder of the run.
            console: told of what is compiled.

        Raises:
            InputError: anything wrong with the data.
        """
        check_x64(config.dtype)
        self.config, self.space = config, SPACES[config.space]
        dataset, _ = standardize(load_images(config.data, data_dir=config.data_dir))
        few = dataset
        if config.batch_classes is not None:
            few = some_classes(dataset, config.batch_classes, config.batch_seed)
        chosen = make_batch(few, config.num_images, split=config.split, seed=config.batch_seed)
        height, width = chosen.x.shape[1:3]
        if config.image_size is None and height != width:
            raise InputError("data", f"images of {height} x {width}", "give --image-size")
        side = config.image_size or height
        self._batch = chosen if (height, width) == (side, side) else resized(chosen, side)
        self._check_labels()
        self.costs = partial(
            self.space.costs,
            image_size=side,
            in_channels=chosen.x.shape[-1],
            num_classes=dataset.num_classes,
            patch_size=config.patch,
        )
        # Refuses patches that do not fit.
        self.costs(np.zeros((1, len(self.space.sizes)), np.int32))
        # Not of the resized images, whose last bits depend on the device.
        self.digest = digest_of(chosen.x, chosen.y, np.array(dataset.num_classes))
        family = FAMILIES[config.space]
        sizes = {name: getattr(config, name) for name in family.sizes}
        settings = {
            name: getattr(config, name) for name in ("outputs", "dtype", "matmul_precision", "tile")
        }
        self._kernels = ModelKernels(
            family.build(dataset.num_classes, **family.complete(sizes)),
            KernelSettings(parameters="all", **settings),
            self._batch.x,
            init_seed=config.init_seed,
            feature_seed=config.feature_seed,
            say=partial(console.print, highlight=False),
        )
        for how in config.variants.values():
            self._kernels.see(None if how is None else how.map)
        self._found: dict[str, dict[str, dict[str, Any]]] = {}
        about = settings_of_rows(config) | {"data_sha256": self.digest}
        self._store = RowStore(out, KEYS, config.cache, about)

    def _check_labels(self) -> None:
        """Refuses alignment with labels that are all different.

        Raises:
            InputError: no class has two images.
        """
        aligned = [name for name in self.config.metrics if name.startswith("lga")]
        if aligned and np.unique(self._batch.y).size == self._batch.y.size:
            cure = f"{aligned[0]} needs several images of a class: give more, or --batch-classes"
            raise InputError("num_images", self.config.num_images, cure)

    def resume(self) -> None:
        """Reads what was scored before in the folder of the run.

        Raises:
            InputError: damaged rows.
        """
        self._store.read()
        for arch, kernel in self._store.rows:
            self._keep(arch, kernel)

    def _keep(self, arch: str, kernel: str) -> None:
        row = self._store.rows[arch, kernel]
        if not {"metrics", "parts", "metric_seconds"} <= set(row):
            cure = "remove that row: what is missing is scored again"
            raise InputError(
                "out", f"{self._store.folder}, a row of {arch} that is not whole", cure
            )
        self._found.setdefault(arch, {})[kernel] = row

    @property
    def scored(self) -> int:
        """Architectures whose kernels were computed, by this run or by one before it."""
        return len(self._found)

    @property
    def adopted(self) -> int:
        """Architectures of which another run has computed a kernel, read from the cache."""
        return sum(any(ADOPTED in row for row in rows.values()) for rows in self._found.values())

    def form(self, arch: Int[np.ndarray, " genes"]) -> str:
        """Names an architecture whatever its dormant genes.

        Args:
            arch: an encoding.

        Returns:
            The same for encodings of one network.
        """
        return self.space.function(arch)

    def seconds(self, arch: Int[np.ndarray, " genes"]) -> float:
        """Says what the kernels of an architecture took.

        Args:
            arch: one that was scored.

        Returns:
            Seconds, compilation apart.
        """
        rows = self._found.get(self.form(arch), {}).values()
        # The kernel of the images is part of several ViNTKs, and is computed once.
        parts = {name: seconds for row in rows for name, seconds in row["parts"].items()}
        return sum(parts.values()) + sum((row["metric_seconds"] for row in rows), 0.0)

    def __call__(self, archs: Int[np.ndarray, "num genes"]) -> Float64[np.ndarray, "num goals"]:
        """Scores architectures, every goal in its good direction; NaN where a score is invalid.

        Args:
            archs: the encodings.

        Returns:
            A row an architecture.

        Raises:
            InputError: a kernel that does not fit into memory, or a folder that cannot be written.
        """
        for arch in archs:
            self._compute(arch)
        return np.stack([self._column(goal, archs) for goal in self.config.parsed], axis=1)

    def _compute(self, arch: Int[np.ndarray, " genes"]) -> None:
        config, name = self.config, self.form(arch)
        for kernel in config.variants:
            if kernel not in self._found.get(name, {}) and self._store.adopt((name, kernel)):
                self._keep(name, kernel)
        known = self._found.get(name, {})
        missing = {kernel: how for kernel, how in config.variants.items() if kernel not in known}
        if not missing:
            return
        own = self.space.canonical(arch[None])[0]
        counts = self.costs(own[None])
        every = scores_of(self._kernels, own, missing, self._batch.y, tuple(METRICS))
        for found in every:
            row = {
                "arch": name,
                "kernel": found.kernel,
                "metrics": {each: score.to_json() for each, score in found.scores.items()},
                "params": int(counts.params[0]),
                "flops": int(counts.flops[0]),
                "init_seed": config.init_seed,
                "feature_seed": config.feature_seed,
                "outputs": config.outputs,
                "dtype": config.dtype,
                "num_images": config.num_images,
                "image_size": self._batch.x.shape[1],
                "parts": dict(found.parts),
                "metric_seconds": found.metric_seconds,
            }
            self._store.add(row)
            self._keep(name, found.kernel)

    def _column(
        self, goal: VitGoal, archs: Int[np.ndarray, "num genes"]
    ) -> Float64[np.ndarray, " num"]:
        if goal.name.startswith(TABLE):
            return table_look_up(goal.name.removeprefix(TABLE), self.space)(archs)
        if goal.kernel is None:
            return np.asarray(getattr(self.costs(archs), goal.name), np.float64)
        sign = 1.0 if METRICS[goal.name].higher_is_better else -1.0
        rows = [self._found[self.form(arch)][goal.kernel] for arch in archs]
        scores = [Score.from_json(row["metrics"][goal.name]) for row in rows]
        return np.array([sign * s.value if s.valid else np.nan for s in scores], np.float64)
