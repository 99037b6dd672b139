"""The configuration of a ranking experiment: one flat, frozen, typed record.

Every field is a flag of ``jaxntk run`` (``num_archs`` is ``--num-archs``).
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import tyro
from jaxtyping import Int32

from jaxntk.data import digits201
from jaxntk.data.tables import Truth
from jaxntk.errors import InputError, check_choice, did_you_mean
from jaxntk.metrics import METRICS
from jaxntk.networks.initializers import initialization
from jaxntk.spaces import nasbench201

TRAIN = "train"
TRUTH_SEED = 10**9
"""Trainings for a ground truth have this seed and those that follow, so that none of them begins
from weights that a cell is scored with."""

# Where files lie and who computes, not what: a run may be resumed with them elsewhere.
LOCATIONS = ("data_dir", "table", "processes", "score_cache")

_Config = TypeVar("_Config", bound="Config")
_Value = TypeVar("_Value")
Hidden = Annotated[_Value, tyro.conf.Suppress]
"""A field that means nothing to a kind of configuration: no flag in its help."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What any study is asked: a record that goes to JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls: type[_Config], row: dict[str, Any]) -> _Config:
        """Reads what :meth:`to_json` wrote.

        Args:
            row: the fields by name.

        Returns:
            The configuration.

        Raises:
            InputError: a field is unknown or not of its type, or one without a default is missing.
        """
        known = [field.name for field in fields(cls)]
        for name in row:
            if name not in known:
                cure = f"remove it{did_you_mean(name, known)}"
                raise InputError("config", f"unknown field {name!r}", cure)
        for field in fields(cls):
            if field.default is MISSING and field.name not in row:
                raise InputError("config", f"no field {field.name!r}", "give another folder")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        _check_types(cls, values)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class KernelConfig(Config):
    """Cells, images, and the kernel that is taken of the cells on the images."""

    data: str
    """Images: digits, digits201, npz:FILE or tfds:NAME."""
    num_archs: int = 100
    """Cells to sample from the space, uniformly and without repetition."""
    archs: tuple[str, ...] = ()
    """Cells to score instead of a sample: official strings or six digits."""
    arch_seed: int = 0
    """Seed of the sample of cells."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    num_images: int = 64
    """Images the kernel is computed on."""
    batch: Literal["balanced", "first"] = "balanced"
    """Class-balanced images drawn with batch_seed, or the first ones as stored."""
    batch_seed: int = 0
    """Seed of the draw of images."""
    split: Literal["train", "valid", "test"] = "train"
    """Where the images come from."""
    channels: int = 16
    """Channels of the stem and the first stage."""
    cells_per_stage: int = 5
    """Cells in each of the three stages."""
    initializer: str = "pytorch"
    """pytorch, he_normal or lecun_normal."""
    outputs: Literal["sum", "trace", "class_balanced"] = "sum"
    """Kernel of the sum of logits, trace over outputs, or the trace without the mean of logits."""
    parameters: Literal["lga", "all"] = "lga"
    """Parameters that enter the kernel: the official LGA choice, or all."""
    dtype: Literal["float32", "mixed", "float64"] = "float32"
    """Precision; mixed is float64 activations, float32 kernel. Metrics are evaluated in float64."""
    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Of matrix products and convolutions; lower ones matter on GPU and TPU."""
    tile: int | None = None
    """Images whose kernel is computed at a time; by default as many as fit into memory."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Metrics to read off each kernel."""


AnyConfig = TypeVar("AnyConfig", bound=Config)
"""A kind of configuration."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(KernelConfig):
    """Score NAS-Bench-201 cells at initialisation."""

    batch_norm: Literal["batch", "frozen", "running"]
    """Batch normalisation while the kernel is taken; batch and running are exact and dear."""
    num_inits: int = 1
    """Initialisations a cell is scored with; its score is their mean."""
    init_seed: int = 0
    """Seed of the first initialisation."""

    @property
    def init_seeds(self) -> range:
        """Seeds of the initialisations that each cell is scored with, in this order."""
        return range(self.init_seed, self.init_seed + self.num_inits)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(ScoreConfig):
    """Score NAS-Bench-201 cells at initialisation and hold every ranking against a ground truth."""

    truth: str
    """Ground truth: train, digits201/test, or a column of NAS-Bench-201 like cifar10/test/200."""
    table: str | None = None
    """The benchmark table nasbench201.csv.gz; by default looked for in data_dir."""
    train_epochs: int = 2
    """With truth=train: epochs each cell is trained for."""
    train_batch_size: int = 64
    """With truth=train: images a step."""
    learning_rate: float = 0.025
    """With truth=train: constant learning rate."""
    momentum: float = 0.9
    """With truth=train: momentum."""
    weight_decay: float = 3e-4
    """With truth=train: weight decay."""
    train_repeats: int = 1
    """With truth=train: trainings whose test accuracies are averaged."""
    train_seed: int = 0
    """With truth=train: seed of initialisation and order of images, the same for every cell."""


def validate_scoring(config: KernelConfig) -> None:
    """Checks what can be checked of a scoring before data are read.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    _check_types(
        type(config), {field.name: getattr(config, field.name) for field in fields(config)}
    )
    for name in ("channels", "cells_per_stage", "num_inits"):
        _check_at_least(name, getattr(config, name, 1), 1)
    _check_at_least("num_images", config.num_images, 2)
    for name in ("arch_seed", "batch_seed", "init_seed"):
        check_seed(name, getattr(config, name, 0))
    if config.tile is not None:
        _check_at_least("tile", config.tile, 1)
    if not config.archs:
        _check_at_least("num_archs", config.num_archs, 1)
        if config.num_archs > nasbench201.SPACE_SIZE:
            cure = f"the space has {nasbench201.SPACE_SIZE} cells"
            raise InputError("num_archs", config.num_archs, cure)
    cells = [nasbench201.format_ops(parse_arch(arch, "archs")) for arch in config.archs]
    for index, cell in enumerate(cells):
        if cell in cells[:index]:
            raise InputError("archs", f"{cell} twice", "give every cell once")
    if not config.metrics:
        raise InputError("metrics", "none", f"choose from {', '.join(METRICS)}")
    for name in config.metrics:
        check_choice("metrics", name, METRICS)
    initialization(config.initializer)


def validate(config: ExperimentConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_scoring(config)
    if config.archs:
        if len(config.archs) < 2:
            raise InputError("archs", "1 cell", "a ranking needs at least 2")
    else:
        _check_at_least("num_archs", config.num_archs, 2)
    if config.truth not in (TRAIN, *digits201.TRUTHS):
        Truth.parse(config.truth)
    for name in ("train_epochs", "train_repeats"):
        _check_at_least(name, getattr(config, name), 1)
    _check_at_least("train_batch_size", config.train_batch_size, 2)
    _check_at_least("train_seed", config.train_seed, 0)
    for name in ("learning_rate", "momentum", "weight_decay"):
        _check_at_least(name, getattr(config, name), 0)


def check_seed(name: str, seed: int) -> None:
    """Refuses seeds that are negative, or reserved for a ground truth.

    Args:
        name: of the argument.
        seed: the seed.

    Raises:
        InputError: it is one of these.
    """
    if not 0 <= seed < TRUTH_SEED // 2:
        raise InputError(name, seed, f"give a seed from 0 to {TRUTH_SEED // 2 - 1}")


def parse_arch(text: str, argument: str = "arch") -> Int32[np.ndarray, "6"]:
    """Reads a cell in either of its written forms.

    Args:
        text: the benchmark's string, or six digits.
        argument: what to call it in an error.

    Returns:
        The cell.

    Raises:
        InputError: it is neither.

    Example:
        >>> print(parse_arch("421211"))
        [4 2 1 2 1 1]
    """
    try:
        return nasbench201.encode(text) if "|" in text else nasbench201.parse_ops(text)
    except InputError as error:
        raise InputError(argument, error.got, error.cure) from error


def _check_types(kind: type[Config], values: Mapping[str, Any]) -> None:
    """Checks that the values of fields are of their types; what is wrong is named first."""
    kinds = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, kinds[name]):
            options = get_args(kinds[name]) if get_origin(kinds[name]) is Literal else ()
            hint = did_you_mean(str(value), options)
            raise InputError(name, repr(value), f"{_cure(kinds[name])}{hint}")


def _fits(value: Any, kind: Any) -> bool:
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in options
    if get_origin(kind) is UnionType:
        return any(_fits(value, option) for option in options)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(entry, options[0]) for entry in value)
    if kind in (int, float):
        # In Python a truth value is a whole number too.
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _cure(kind: Any) -> str:
    """Says in words what fits a field."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return f"choose from {', '.join(options)}"
    if get_origin(kind) is UnionType:
        return f"{_cure(options[0])}, or nothing"
    words = {int: "a whole number", float: "a number", str: "a string"}
    return f"give {words.get(kind, 'a list of strings')}"


def _check_at_least(name: str, value: int | float, least: int) -> None:
    if not math.isfinite(value) or value < least:
        raise InputError(name, repr(value), f"give at least {least}")
