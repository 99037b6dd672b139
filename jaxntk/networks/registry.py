"""The networks of the search spaces by name: how a space becomes a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxntk.errors import InputError, did_you_mean
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.model import Model
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.pit import PiT
from jaxntk.networks.pit_classes import DEFAULT_CLASSES, class_of
from jaxntk.networks.vit import pyramid_model, transformer_model
from jaxntk.spaces import autoformer, pit
from jaxntk.spaces.registry import AUTOFORMERS, DIGITS_VIT, NASBENCH201, PIT, SPACES
from jaxntk.spaces.space import Space

Arch = Int[np.ndarray, " genes"]
Own = Int[np.ndarray, " own"]
"""The encoding that a network of one architecture takes."""


class Family(NamedTuple):
    """How the networks of a space are made.

    Args:
        sizes: of a network, by name, and what they are where nothing else is said.
        build: ``(num_classes, **sizes) -> model`` of all architectures.
        own: ``(arch, num_classes, **sizes) -> (model, arch)``: the network of one architecture,
            to be trained by itself, and the encoding that it takes; None for that of all.
        recipe: by which networks are trained where no other is named, of
            :data:`~jaxntk.training.recipe.RECIPES`.
    """

    sizes: Mapping[str, Any]
    build: Callable[..., Model]
    own: Callable[..., tuple[Model, Arch]] | None = None
    recipe: str = "adamw"

    def alone(self, arch: Arch, num_classes: int, sizes: Mapping[str, Any]) -> tuple[Model, Own]:
        """Returns the network of one architecture, to be trained by itself.

        Args:
            arch: the encoding.
            num_classes: outputs of the classifier.
            sizes: all sizes of the family.

        Returns:
            The network, and the encoding that it takes.
        """
        if self.own is None:
            return self.build(num_classes, **sizes), arch
        return self.own(arch, num_classes, **sizes)

    @property
    def modes(self) -> tuple[BatchNormMode, ...]:
        """Of batch normalisation, in which kernels can be taken."""
        return self.build(2, **self.sizes).modes

    def complete(self, sizes: Mapping[str, Any]) -> dict[str, Any]:
        """Fills sizes up with what they are by default.

        Args:
            sizes: by name; None for the default.

        Returns:
            All sizes of the family.

        Raises:
            InputError: a size that its networks do not have.
        """
        given = {name: value for name, value in sizes.items() if value is not None}
        for name, value in given.items():
            if name not in self.sizes:
                cure = f"leave it out: networks of this space have {', '.join(self.sizes)}"
                raise InputError(name, value, cure)
        return {**self.sizes, **given}


def _cells(
    num_classes: int, channels: int, cells_per_stage: int, initializer: str = "pytorch"
) -> Model:
    network = NasBench201(num_classes, channels, cells_per_stage, initializer=initializer)
    return cell_model(network)


def _transformers(choices: autoformer.Choices, num_classes: int, patch_size: int) -> Model:
    return transformer_model(AutoFormer(choices, num_classes, patch_size))


def _own_transformer(
    choices: autoformer.Choices, arch: Arch, num_classes: int, patch_size: int
) -> tuple[Model, Own]:
    """Its blocks are all as large as its largest one, rather than as the space's."""
    sizes = autoformer.decode(arch, choices)
    small = replace(
        choices,
        embed_dims=(sizes.embed_dim,),
        depths=(len(sizes.heads),),
        heads=tuple(sorted(set(sizes.heads))),
        mlp_ratios=tuple(sorted(set(sizes.mlp_ratios))),
    )
    model = transformer_model(AutoFormer(small, num_classes, patch_size))
    return model, autoformer.encode(sizes, small)


def _own_pyramid(
    arch: Arch, num_classes: int, patch_size: int, num_shape_classes: int = 0
) -> tuple[Model, Arch]:
    """Of as many classes as there are shapes."""
    own = class_of(arch, len(pit.BASE_DIMS) * len(pit.HEADS) * len(pit.MLP_RATIOS))
    return transformer_model(PiT(num_classes, own, patch_size, pit.stride_of(patch_size))), arch


def _autoformer(choices: autoformer.Choices, patch_size: int) -> Family:
    return Family(
        {"patch_size": patch_size},
        partial(_transformers, choices),
        partial(_own_transformer, choices),
    )


FAMILIES: dict[str, Family] = {
    NASBENCH201: Family(
        {"channels": 16, "cells_per_stage": 5, "initializer": "pytorch"},
        _cells,
        recipe="nasbench201",
    ),
    **{
        # The networks of Digits-ViT see patches of 2 pixels, those of the papers of 16.
        name: _autoformer(choices, 2 if name == DIGITS_VIT else 16)
        for name, choices in AUTOFORMERS.items()
    },
    PIT: Family(
        {"patch_size": pit.PATCH_SIZE, "num_shape_classes": DEFAULT_CLASSES},
        pyramid_model,
        _own_pyramid,
    ),
}
"""By the names of :data:`~jaxntk.spaces.registry.SPACES`."""


OURS = frozenset(SPACES)
"""Names of the spaces that come with the package."""


def add_space(space: Space, family: Family) -> None:
    """Adds a space of your own, so that every study knows it by its name.

    Args:
        space: the space.
        family: how its networks are made.

    Raises:
        InputError: a space that comes with the package has that name.
    """
    if space.name in OURS:
        raise InputError("space", space.name, "choose another name: there is such a space")
    SPACES[space.name], FAMILIES[space.name] = space, family


def check_space(name: str) -> None:
    """Refuses the name of no space.

    Args:
        name: as configurations have it.

    Raises:
        InputError: it is not there.
    """
    if name not in SPACES:
        own = "or add your own: jaxntk --with FILE.py COMMAND ..."
        cure = f"choose from {', '.join(SPACES)}, {own}{did_you_mean(name, SPACES)}"
        raise InputError("space", repr(name), cure)
