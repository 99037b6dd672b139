"""The configuration of kernel dynamics: which cells are watched, and after which epochs."""

from dataclasses import dataclass, replace

import numpy as np

from jaxntk.data.truths import TableLookUp
from jaxntk.errors import InputError
from jaxntk.networks.registry import FAMILIES
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import label, listed
from jaxntk.studies.over_epochs_config import OverEpochsConfig, validate_training


@dataclass(frozen=True, kw_only=True)
class KernelDynamicsConfig(OverEpochsConfig):
    """Watch the kernels of a few networks over training."""

    num_images: int = 128
    """Images the kernel is computed on."""
    epochs: tuple[int, ...] = tuple(range(9))
    """Epochs after which kernels are taken; the first is what the others are held against."""
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.99)
    """Without archs: architectures are taken at these quantiles of the truth, among all whose
    output is not constant."""


def validate_dynamics(config: KernelDynamicsConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_training(config)
    if len(config.batch_norms) != 1:
        raise InputError("batch_norms", list(config.batch_norms), "give one")
    if config.num_seeds != 1:
        raise InputError("num_seeds", config.num_seeds, "give 1")
    if list(config.epochs) != sorted(config.epochs):
        raise InputError("epochs", list(config.epochs), "give them in rising order")
    given = config.quantiles
    if not given or len(set(given)) < len(given) or not all(0 <= each <= 1 for each in given):
        raise InputError("quantiles", list(given), "give numbers from 0 to 1, and none twice")


def with_archs(
    config: KernelDynamicsConfig,
    look_up: TableLookUp,
) -> KernelDynamicsConfig:
    """Names the architectures at the quantiles of the truth, where none are named.

    Args:
        config: the configuration.
        look_up: ``archs -> accuracies``.

    Returns:
        The configuration, with architectures.

    Raises:
        InputError: the table lacks one, or the space is too large to be listed.
    """
    if config.archs:
        return config
    space = SPACES[config.space]
    every = listed(space) if space.active is None else None
    if every is None:
        cure = f"name architectures: {space.name} is not searched for quantiles"
        raise InputError("archs", "none", cure)
    model = FAMILIES[config.space].build(2, **config.sizes)
    telling = every[[not model.constant(arch) for arch in every]]
    order = np.argsort(look_up(telling), kind="stable")
    places = [round(quantile * (len(order) - 1)) for quantile in config.quantiles]
    names = [label(space, telling[order[place]]) for place in places]
    # Quantiles that lie close together may name one.
    return replace(config, archs=tuple(dict.fromkeys(names)))
