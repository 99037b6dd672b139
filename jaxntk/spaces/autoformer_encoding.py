"""Architectures of AutoFormer as integers, spelled out, and as lines; canonical encodings."""

import re
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from jaxntk.errors import InputError
from jaxntk.spaces import genes
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import Blocks

_EXAMPLE = "192:4x3.5,4x4,3x4"


@dataclass(frozen=True)
class Choices:
    """What can be chosen.

    Args:
        embed_dims: embedding dimensions.
        depths: numbers of blocks.
        heads: numbers of heads of a block.
        mlp_ratios: hidden units of a block's MLP, as a multiple of the embedding dimension.
        head_dim: dimensions of a head; None for embedding / heads.

    Raises:
        InputError: nothing to choose from, a size that is not positive or occurs twice, or an
            embedding that a number of heads does not divide.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    head_dim: int | None = 64

    def __post_init__(self) -> None:
        """Checks the sizes."""
        for name in ("embed_dims", "depths", "heads", "mlp_ratios"):
            options = getattr(self, name)
            if not options or min(options) <= 0 or len(set(options)) < len(options):
                raise InputError(name, options, "give positive sizes, each once")
        if self.head_dim is not None and self.head_dim < 1:
            raise InputError("head_dim", self.head_dim, "give at least 1, or None")
        if self.head_dim is None:
            for embed in self.embed_dims:
                for heads in self.heads:
                    if embed % heads:
                        got = f"{heads} heads of a width of {embed}"
                        cure = "give numbers that divide it, or a head_dim"
                        raise InputError("heads", got, cure)

    @property
    def max_depth(self) -> int:
        """Blocks of the deepest architecture."""
        return max(self.depths)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Options of each gene."""
        blocks = (len(self.heads),) * self.max_depth + (len(self.mlp_ratios),) * self.max_depth
        return (len(self.embed_dims), len(self.depths), *blocks)


TINY = Choices((192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4.0))
SMALL = Choices((320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0))
BASE = Choices((528, 576, 624), (14, 15, 16), (8, 9, 10), (3.0, 3.5, 4.0))
"""AutoFormer's three spaces (table 1 of the paper)."""
VITBENCH101 = replace(TINY, head_dim=None)
"""The AutoFormer networks of ViT-Bench-101."""
DIGITS_VIT = Choices((8, 12, 16, 20, 24, 32), (1, 2, 3), (1, 4), (1.0, 4.0), head_dim=None)
"""The networks of Digits-ViT (docs/digits_vit.md)."""


@dataclass(frozen=True)
class Sizes:
    """One architecture, spelled out.

    Args:
        embed_dim: embedding dimension.
        heads: number of heads of each block.
        mlp_ratios: MLP ratio of each block.
    """

    embed_dim: int
    heads: tuple[int, ...]
    mlp_ratios: tuple[float, ...]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.heads)


def encode(sizes: Sizes, space: Choices = TINY) -> Int32[np.ndarray, " genes"]:
    """Writes an architecture as integers.

    Args:
        sizes: the architecture.
        space: that it belongs to.

    Returns:
        Its canonical encoding.

    Raises:
        InputError: a size that the space does not offer, or not as many ratios as heads.

    Example:
        >>> space = Choices((8, 16), (1, 2), (1, 2), (2.0, 4.0))
        >>> encode(Sizes(16, (2,), (4.0,)), space).tolist()
        [1, 0, 1, 0, 1, 0]
    """
    if len(sizes.mlp_ratios) != sizes.depth:
        got = f"{len(sizes.mlp_ratios)} for {sizes.depth} blocks"
        raise InputError("mlp_ratios", got, "give one a block")
    dormant = [0] * (space.max_depth - sizes.depth)
    chosen = [
        genes.gene_of("embed_dim", sizes.embed_dim, space.embed_dims),
        genes.gene_of("depth", sizes.depth, space.depths),
        *(genes.gene_of("heads", each, space.heads) for each in sizes.heads),
        *dormant,
        *(genes.gene_of("mlp_ratios", each, space.mlp_ratios) for each in sizes.mlp_ratios),
        *dormant,
    ]
    return np.array(chosen, np.int32)


def decode(arch: GenesLike, space: Choices = TINY) -> Sizes:
    """Spells an architecture out.

    Args:
        arch: its encoding.
        space: that it belongs to.

    Returns:
        Its sizes.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> decode([1, 0, 1, 0, 1, 0], Choices((8, 16), (1, 2), (1, 2), (2.0, 4.0)))
        Sizes(embed_dim=16, heads=(2,), mlp_ratios=(4.0,))
    """
    embed, depth, *blocks = genes.check_one(arch, space.sizes).tolist()
    num = space.depths[depth]
    heads, ratios = blocks[:num], blocks[space.max_depth : space.max_depth + num]
    return Sizes(
        space.embed_dims[embed],
        tuple(space.heads[each] for each in heads),
        tuple(space.mlp_ratios[each] for each in ratios),
    )


def to_string(arch: GenesLike, space: Choices = TINY) -> str:
    """Writes an architecture as a line: embedding, then heads x MLP ratio of each block.

    Args:
        arch: its encoding.
        space: that it belongs to.

    Returns:
        The line that :func:`from_string` reads.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> to_string([1, 1, 1, 0, 1, 0], Choices((8, 16), (1, 2), (1, 2), (2.0, 4.0)))
        '16:2x4,1x2'
    """
    sizes = decode(arch, space)
    blocks = zip(sizes.heads, sizes.mlp_ratios, strict=True)
    return f"{sizes.embed_dim}:" + ",".join(
        # Every digit of a ratio counts, but 4.0 is 4.
        f"{heads}x{str(ratio).removesuffix('.0')}"
        for heads, ratio in blocks
    )


def from_string(text: str, space: Choices = TINY) -> Int32[np.ndarray, " genes"]:
    """Reads what :func:`to_string` writes.

    Args:
        text: for example ``16:2x4,1x2``.
        space: that it belongs to.

    Returns:
        The canonical encoding.

    Raises:
        InputError: not such a line, or a size that the space does not offer.

    Example:
        >>> from_string("16:2x4,1x2", Choices((8, 16), (1, 2), (1, 2), (2.0, 4.0))).tolist()
        [1, 1, 1, 0, 1, 0]
    """
    block = r"\d+x\d+(?:\.\d+)?"
    if not re.fullmatch(rf"\d+:{block}(?:,{block})*", text):
        cure = f"write embedding:heads x ratio of each block, such as {_EXAMPLE}"
        raise InputError("arch", repr(text), cure)
    embed, blocks = text.split(":")
    pairs = [each.split("x") for each in blocks.split(",")]
    heads = tuple(int(heads) for heads, _ in pairs)
    return encode(Sizes(int(embed), heads, tuple(float(ratio) for _, ratio in pairs)), space)


def blocks(arch: GenesLike, space: Choices = TINY) -> Blocks:
    """Lists the blocks of an architecture.

    Args:
        arch: its encoding.
        space: that it belongs to.

    Returns:
        Their sizes.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> blocks([1, 0, 1, 0, 1, 0], Choices((8, 16), (1, 2), (1, 2), (2.0, 4.0)))
        Blocks(widths=(16,), heads=(2,), hidden=(64,))
    """
    own = decode(arch, space)
    hidden = tuple(int(ratio * own.embed_dim) for ratio in own.mlp_ratios)
    return Blocks((own.embed_dim,) * own.depth, own.heads, hidden)


def canonical(archs: GenesLike, space: Choices = TINY) -> Int32[np.ndarray, "num genes"]:
    """Sets dormant genes to 0, so that encodings of one architecture are equal.

    Args:
        archs: one encoding a row.
        space: that they belong to.

    Returns:
        The canonical encodings.

    Raises:
        InputError: not encodings of the space.
    """
    checked = genes.check_genes(archs, space.sizes)
    return np.where(active_of(checked, space), checked, 0)


def active_genes(arch: Int32[Array, " genes"], space: Choices = TINY) -> Bool[Array, " genes"]:
    """Tells which genes count: those of blocks that are there. Works under ``jit`` and ``vmap``.

    Args:
        arch: an encoding.
        space: that it belongs to.

    Returns:
        A flag for each gene.
    """
    blocks = jnp.arange(space.max_depth) < jnp.asarray(space.depths)[arch[1]]
    return jnp.concatenate([jnp.ones(2, bool), blocks, blocks])


def active_of(
    archs: Int32[np.ndarray, "num genes"], space: Choices
) -> Bool[np.ndarray, "num genes"]:
    """Tells which genes of each encoding count, on the host.

    Args:
        archs: one encoding a row.
        space: that they belong to.

    Returns:
        A flag for each gene.
    """
    blocks = np.arange(space.max_depth) < genes.take(space.depths, archs[:, 1])[:, None]
    return np.concatenate([np.ones((len(archs), 2), bool), blocks, blocks], axis=1)
