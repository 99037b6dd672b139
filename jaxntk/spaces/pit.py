"""The PiT search space of ViT-Bench-101 (Wei et al., 2023, arXiv 2312.09059).

A pooling-based vision transformer (Heo et al., ICCV 2021, arXiv 2103.16302): three stages of blocks
with half the tokens along each axis and often more channels from one stage to the next. An
architecture is a vector of six integers, indices in :data:`BASE_DIMS`, in :data:`DEPTHS` for each
stage, in :data:`HEADS` and in :data:`MLP_RATIOS`. Stage s is ``base_dim * heads[s]`` wide, and
heads never become fewer. The space has 4,320 architectures.
"""

import itertools
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from jaxntk.errors import InputError
from jaxntk.spaces import genes
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import Blocks, ViTCosts, block_flops, block_params, check_sizes

BASE_DIMS = (16, 24, 32, 40)
"""Dimensions of a head."""
DEPTHS = ((1, 2, 3), (4, 6, 8), (2, 4, 6))
"""Blocks of each stage."""
HEADS = tuple(itertools.combinations_with_replacement((2, 4, 8), 3))
"""Heads of the three stages."""
MLP_RATIOS = (2, 4, 6, 8)
"""Hidden units of every MLP, as a multiple of the width."""
STAGES = len(DEPTHS)
GENE_SIZES = (len(BASE_DIMS), *map(len, DEPTHS), len(HEADS), len(MLP_RATIOS))
"""Options of each gene."""
SPACE_SIZE = int(np.prod(GENE_SIZES))

PATCH_SIZE, STRIDE = 16, 8
"""Of the convolution that makes tokens: 27 x 27 of them from an image of 224 pixels."""
POOL = 3
"""Kernel of the convolutions between stages; their stride is 2, with one pixel of padding."""
_EXAMPLE = "16:2x2,8x4,4x4:6"


@dataclass(frozen=True)
class Sizes:
    """One architecture, spelled out.

    Args:
        base_dim: dimensions of a head.
        depths: blocks of each stage.
        heads: heads of each stage.
        mlp_ratio: of every block.
    """

    base_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    mlp_ratio: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Embedding dimension of each stage."""
        return tuple(self.base_dim * each for each in self.heads)


def encode(sizes: Sizes) -> Int32[np.ndarray, "6"]:
    """Writes an architecture as integers.

    Args:
        sizes: the architecture.

    Returns:
        Its encoding.

    Raises:
        InputError: a size that the space does not offer.

    Example:
        >>> encode(Sizes(24, (1, 6, 2), (2, 2, 8), 4)).tolist()
        [1, 0, 1, 0, 2, 1]
    """
    if len(sizes.depths) != STAGES:
        raise InputError("depths", sizes.depths, f"give one for each of {STAGES} stages")
    depths = (
        genes.gene_of(f"depths of stage {stage}", depth, options)
        for stage, (depth, options) in enumerate(zip(sizes.depths, DEPTHS, strict=True), 1)
    )
    chosen = (
        genes.gene_of("base_dim", sizes.base_dim, BASE_DIMS),
        *depths,
        genes.gene_of("heads", tuple(sizes.heads), HEADS),
        genes.gene_of("mlp_ratio", sizes.mlp_ratio, MLP_RATIOS),
    )
    return np.array(chosen, np.int32)


def decode(arch: GenesLike) -> Sizes:
    """Spells an architecture out.

    Args:
        arch: its encoding.

    Returns:
        Its sizes.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> decode([1, 0, 1, 0, 2, 1])
        Sizes(base_dim=24, depths=(1, 6, 2), heads=(2, 2, 8), mlp_ratio=4)
    """
    base, *depths, heads, ratio = genes.check_one(arch, GENE_SIZES).tolist()
    chosen = (options[depth] for depth, options in zip(depths, DEPTHS, strict=True))
    return Sizes(BASE_DIMS[base], tuple(chosen), HEADS[heads], MLP_RATIOS[ratio])


def to_string(arch: GenesLike) -> str:
    """Writes an architecture as a line: base dimension, blocks x heads of each stage, MLP ratio.

    Args:
        arch: its encoding.

    Returns:
        The line that :func:`from_string` reads.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> to_string([1, 0, 1, 0, 2, 1])
        '24:1x2,6x2,2x8:4'
    """
    sizes = decode(arch)
    stages = (f"{each}x{heads}" for each, heads in zip(sizes.depths, sizes.heads, strict=True))
    return f"{sizes.base_dim}:{','.join(stages)}:{sizes.mlp_ratio}"


def from_string(text: str) -> Int32[np.ndarray, "6"]:
    """Reads what :func:`to_string` writes.

    Args:
        text: for example ``24:1x2,6x2,2x8:4``.

    Returns:
        The encoding.

    Raises:
        InputError: not such a line, or a size that the space does not offer.

    Example:
        >>> from_string("24:1x2,6x2,2x8:4").tolist()
        [1, 0, 1, 0, 2, 1]
    """
    if not re.fullmatch(r"\d+:\d+x\d+,\d+x\d+,\d+x\d+:\d+", text):
        cure = f"write base dimension:blocks x heads of each stage:ratio, such as {_EXAMPLE}"
        raise InputError("arch", repr(text), cure)
    base, stages, ratio = text.split(":")
    depths, heads = zip(*(map(int, stage.split("x")) for stage in stages.split(",")), strict=True)
    return encode(Sizes(int(base), depths, heads, int(ratio)))


def enumerate_space() -> Int32[np.ndarray, "4320 6"]:
    """Lists every architecture, the last gene running fastest."""
    grid = np.indices(GENE_SIZES, np.int32)
    return grid.reshape(len(GENE_SIZES), SPACE_SIZE).T


def blocks(arch: GenesLike) -> Blocks:
    """Lists the blocks of an architecture, stage after stage.

    Args:
        arch: its encoding.

    Returns:
        Their sizes.

    Raises:
        InputError: not an encoding of the space.

    Example:
        >>> blocks(from_string("24:1x2,6x2,2x8:4")).widths
        (48, 48, 48, 48, 48, 48, 48, 192, 192)
    """
    own = decode(arch)
    each = list(zip(own.depths, own.widths, own.heads, strict=True))
    widths = tuple(width for depth, width, _ in each for _ in range(depth))
    heads = tuple(num for depth, _, num in each for _ in range(depth))
    return Blocks(widths, heads, tuple(own.mlp_ratio * width for width in widths))


def stride_of(patch_size: int) -> int:
    """Returns how far it is from one patch to the next: half a patch, so that they overlap.

    Args:
        patch_size: height and width of a patch, in pixels.

    Returns:
        Pixels, at least 1.

    Raises:
        InputError: no patch.
    """
    if patch_size < 1:
        raise InputError("patch_size", patch_size, "give at least 1")
    return max(1, patch_size // 2)


def grids(image_size: int, patch_size: int = PATCH_SIZE) -> tuple[int, int, int]:
    """Returns how many tokens each stage has along an axis, the class token aside.

    Args:
        image_size: height and width in pixels.
        patch_size: height and width of a patch, in pixels.

    Returns:
        A number a stage.

    Raises:
        InputError: images smaller than a patch.

    Example:
        >>> grids(224)
        (27, 14, 7)
    """
    stride = stride_of(patch_size)
    if image_size < patch_size:
        raise InputError("image_size", image_size, f"give at least {patch_size}, a patch")
    first = (image_size - patch_size) // stride + 1
    second = (first - 1) // 2 + 1
    return first, second, (second - 1) // 2 + 1


def population_costs(
    archs: GenesLike,
    *,
    image_size: int = 224,
    patch_size: int = PATCH_SIZE,
    in_channels: int = 3,
    num_classes: int = 1000,
) -> ViTCosts:
    """Counts parameters and FLOPs of many architectures at once.

    The network: overlapping patches, a class token and a table of positions; stages of blocks with,
    between them, a depthwise convolution of the image tokens and a linear map of the class token; a
    last layer norm and a linear classifier.

    Args:
        archs: one encoding a row.
        image_size: height and width in pixels.
        patch_size: height and width of a patch, in pixels.
        in_channels: of the images.
        num_classes: outputs of the classifier.

    Returns:
        The counts, an entry an architecture.

    Raises:
        InputError: not encodings of the space, a size below 1, or images smaller than a patch.

    Example:
        >>> int(population_costs([[0, 1, 2, 1, 3, 2]], num_classes=100).params[0])
        893828
    """
    check_sizes(in_channels=in_channels, num_classes=num_classes)
    checked = genes.check_genes(archs, GENE_SIZES)
    base, ratio = genes.take(BASE_DIMS, checked[:, 0]), genes.take(MLP_RATIOS, checked[:, -1])
    heads, sides = genes.take(HEADS, checked[:, -2]), grids(image_size, patch_size)
    widths = [base * heads[:, stage] for stage in range(STAGES)]
    depths = [genes.take(DEPTHS[stage], checked[:, 1 + stage]) for stage in range(STAGES)]
    pixels = in_channels * patch_size**2
    params = (pixels + 1) * widths[0] + (sides[0] ** 2 + 1) * widths[0]
    flops = sides[0] ** 2 * pixels * widths[0]
    for stage in range(STAGES):
        width, hidden = widths[stage], ratio * widths[stage]
        params = params + depths[stage] * block_params(width, width, hidden)
        flops = flops + depths[stage] * block_flops(sides[stage] ** 2 + 1, width, width, hidden)
        if stage + 1 < STAGES:
            wider = widths[stage + 1]
            params = params + (POOL**2 + 1) * wider + (width + 1) * wider
            flops = flops + sides[stage + 1] ** 2 * POOL**2 * wider + width * wider
    last = widths[-1]
    params = params + 2 * last + (last + 1) * num_classes
    return ViTCosts(params, flops + last * num_classes, np.sum(depths, axis=0), last)
