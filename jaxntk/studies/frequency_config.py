"""The configuration of a study of what kernels see of each spatial frequency."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from jaxntk.data.plane_waves import plane_waves
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import ViNTK, bands
from jaxntk.runs.config import Config
from jaxntk.spaces import autoformer
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.spaces.space import read_arch
from jaxntk.studies.config import check_seed


@dataclass(frozen=True, kw_only=True)
class FrequencyConfig(Config):
    """Hold kernels of a linear model, a CNN and a vision transformer against plane waves."""

    side: int = 32
    """Height and width of the images, pixels."""
    frequencies: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10, 12, 14)
    """Cycles an image of the plane waves, rising."""
    orientations: int = 4
    """Directions of the waves of each frequency."""
    phases: int = 4
    """Phases of each wave."""
    data: str = "npz:cifar100_5k1k.npz"
    """Natural images: npz:FILE, tfds:NAME, digits or digits201; enlarged or shrunk to side."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    num_images: int = 64
    """Natural images."""
    batch_seed: int = 0
    """Seed of the draw of images."""
    num_bands: int = 4
    """Rings of spatial frequency that natural images are split into."""
    cell: str = "432311"
    """The CNN: a NAS-Bench-201 cell, as six digits or its official string."""
    channels: int = 16
    """Channels of the CNN's stem."""
    cells_per_stage: int = 1
    """Cells in each of the CNN's three stages."""
    space: Literal["tiny", "small", "base"] = "tiny"
    """AutoFormer's space that the transformer is from."""
    vit: str = "192:" + ",".join(["3x4"] * 12)
    """The transformer: embedding, then heads and MLP ratio of each block."""
    patch_size: int = 4
    """Of the transformer, pixels."""
    vintks: tuple[str, ...] = (
        "pixel_values:sigma=1/fourier_only",
        "pixel_values:sigma=1/sum",
        "patch_content:sigma=1/fourier_only",
        "coordinates:sigma=4/fourier_only",
        "bands:num=4/fourier_only",
    )
    """ViNTKs of the transformer beside its NTK."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of kernels."""
    seed: int = 0
    """Of the first initialisation."""
    num_seeds: int = 3
    """Initialisations of each network, and draws of Fourier features."""

    @property
    def seeds(self) -> range:
        """Seeds of the initialisations."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def autoformer_space(self) -> autoformer.Choices:
        """The space that the transformer is from."""
        return CHOICES[self.space]


CHOICES = {"tiny": autoformer.TINY, "small": autoformer.SMALL, "base": autoformer.BASE}


def validate_frequency(config: FrequencyConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_choice("space", config.space, CHOICES)
    check_choice("dtype", config.dtype, ("float32", "float64"))
    ordered = list(dict.fromkeys(sorted(config.frequencies)))
    if len(ordered) < 2 or ordered != list(config.frequencies):
        cure = "give at least two, rising"
        raise InputError("frequencies", list(config.frequencies), cure)
    plane_waves(
        config.side, config.frequencies, orientations=config.orientations, phases=config.phases
    )
    if config.side % 4:
        raise InputError("side", config.side, "give a multiple of 4: the CNN halves images twice")
    at_least = {"patch_size": 1, "num_images": 2, "num_bands": 2, "num_seeds": 1}
    at_least |= {"channels": 1, "cells_per_stage": 1}
    for name, least in at_least.items():
        if getattr(config, name) < least:
            raise InputError(name, getattr(config, name), f"give at least {least}")
    bands(jnp.zeros((1, config.side, config.side, 1)), config.num_bands)
    if config.side % config.patch_size:
        raise InputError("patch_size", config.patch_size, f"give a divisor of side={config.side}")
    for name in ("seed", "batch_seed"):
        check_seed(name, getattr(config, name))
    read_arch(SPACES[NASBENCH201], config.cell, "cell")
    autoformer.from_string(config.vit, config.autoformer_space)
    names = [str(ViNTK.parse(text)) for text in config.vintks]
    if len(set(names)) < len(names):
        raise InputError("vintks", names, "give none twice")
