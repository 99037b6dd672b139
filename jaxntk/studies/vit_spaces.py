"""The spaces of vision transformers by the names that configurations use."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int, Int32

from jaxntk.data import digits_vit
from jaxntk.errors import check_choice
from jaxntk.search import SearchSpace
from jaxntk.spaces import autoformer, genes, pit
from jaxntk.spaces.vit_cost import ViTCosts

PIT = "pit"
DIGITS_VIT = "digits-vit"
AUTOFORMERS: Mapping[str, autoformer.Space] = {
    "autoformer-tiny": autoformer.TINY,
    "autoformer-small": autoformer.SMALL,
    "autoformer-base": autoformer.BASE,
    "autoformer-vitbench101": autoformer.VITBENCH101,
    DIGITS_VIT: digits_vit.SPACE,
}
SPACES = (*AUTOFORMERS, PIT)


@dataclass(frozen=True)
class Blocks:
    """The blocks of one architecture, first to last.

    Args:
        widths: embedding dimension.
        heads: of the attention.
        hidden: units of the MLP.
    """

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class TransformerSpace:
    """A space of transformers, of AutoFormer's kind or PiT's.

    Args:
        name: one of `SPACES`.
    """

    name: str

    def __post_init__(self) -> None:
        """Refuses an unknown name.

        Raises:
            InputError: it is none of `SPACES`.
        """
        check_choice("space", self.name, SPACES)

    @property
    def family(self) -> str:
        """``autoformer`` or ``pit``."""
        return "pit" if self.name == PIT else "autoformer"

    @property
    def options(self) -> autoformer.Space:
        """What can be chosen in a space of AutoFormer's kind."""
        return AUTOFORMERS[self.name]

    @property
    def genes(self) -> SearchSpace:
        """The space as searches take it; genes of blocks that are not there are left alone."""
        if self.name == PIT:
            return SearchSpace(pit.GENE_SIZES)
        active = partial(autoformer.active_genes, space=self.options)
        return SearchSpace(self.options.sizes, active=active)

    def canonical(self, archs: Int[np.ndarray, "num genes"]) -> Int32[np.ndarray, "num genes"]:
        """Makes encodings of one architecture equal.

        Args:
            archs: one encoding a row.

        Returns:
            The canonical ones.

        Raises:
            InputError: not encodings of the space.
        """
        if self.name == PIT:
            return genes.check_genes(archs, pit.GENE_SIZES)
        return autoformer.canonical(archs, self.options)

    def to_string(self, arch: Int[np.ndarray, " genes"]) -> str:
        """Writes an architecture as its space does, dormant genes left out.

        Args:
            arch: an encoding.

        Returns:
            The text.

        Raises:
            InputError: not an encoding of the space.
        """
        return pit.to_string(arch) if self.name == PIT else autoformer.to_string(arch, self.options)

    def blocks(self, arch: Int[np.ndarray, " genes"]) -> Blocks:
        """Lists the blocks of an architecture.

        Args:
            arch: an encoding.

        Returns:
            Their sizes.

        Raises:
            InputError: not an encoding of the space.
        """
        if self.name == PIT:
            sizes = pit.decode(arch)
            each = list(zip(sizes.depths, sizes.widths, sizes.heads, strict=True))
            widths = tuple(width for depth, width, _ in each for _ in range(depth))
            heads = tuple(num for depth, _, num in each for _ in range(depth))
            return Blocks(widths, heads, tuple(sizes.mlp_ratio * width for width in widths))
        own = autoformer.decode(arch, self.options)
        hidden = tuple(int(ratio * own.embed_dim) for ratio in own.mlp_ratios)
        return Blocks((own.embed_dim,) * own.depth, own.heads, hidden)

    def costs(
        self,
        archs: Int[np.ndarray, "num genes"],
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        patch_size: int,
    ) -> ViTCosts:
        """Counts parameters and FLOPs.

        Args:
            archs: one encoding a row.
            image_size: height and width in pixels.
            in_channels: of the images.
            num_classes: outputs of the classifier.
            patch_size: of a space of AutoFormer's kind; PiT has its own.

        Returns:
            The counts.

        Raises:
            InputError: not encodings of the space, or sizes that do not fit.
        """
        sizes = {
            "image_size": image_size,
            "in_channels": in_channels,
            "num_classes": num_classes,
        }
        if self.name == PIT:
            return pit.population_costs(archs, **sizes)
        return autoformer.population_costs(archs, self.options, **sizes, patch_size=patch_size)

    @property
    def everything(self) -> Int[np.ndarray, "all genes"] | None:
        """All encodings, dormant genes included; None where these are too many to be listed."""
        sizes = self.genes.sizes
        if np.prod(sizes, dtype=float) > LISTED:
            return None
        return np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int32)


LISTED = 100_000
"""Encodings that are still listed."""
