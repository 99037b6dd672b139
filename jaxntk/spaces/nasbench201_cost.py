"""Parameters, FLOPs and convolutions of NAS-Bench-201 networks, counted as the benchmark does.

The network (Dong & Yang 2020, section 2.1): a 3x3 convolution to C channels, three stages of cells
at C, 2C and 4C channels with a residual block of stride 2 between them, batch normalisation, global
average pooling and a linear classifier.

The published counts are those of the networks the benchmark trained: every batch normalisation,
those inside cells too, has a scale and a shift, and no convolution has a bias. FLOPs are
multiply-accumulates of convolutions and classifier, plus one for each of the classifier's biases;
normalisation, pooling, ReLU and sums count nothing. Branches the output does not depend on count in
full.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201_canonical import live_edges_of
from jaxntk.spaces.nasbench201_encoding import CONVOLUTIONS, ArchLike, check_arch, check_archs

STAGES = (1, 2, 4)
"""Channels of each stage, as a multiple of the stem's; the image shrinks by the same factor."""


class Costs(NamedTuple):
    """Counts for a population of cells.

    Args:
        params: trainable parameters of the whole network.
        flops: multiply-accumulates for one image.
        convolutions: convolutions on the six edges of the cell.
        live_params: parameters without those of edges that do not lie between input and output; 0
            where nothing does. What the mere shape of a cell says, which a kernel knows as well.
    """

    params: Int64[np.ndarray, " num"]
    flops: Int64[np.ndarray, " num"]
    convolutions: Int64[np.ndarray, " num"]
    live_params: Int64[np.ndarray, " num"]


def population_costs(
    archs: ArchLike,
    *,
    channels: int = 16,
    cells_per_stage: int = 5,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
) -> Costs:
    """Counts parameters, FLOPs and convolutions of many cells at once.

    The defaults are the benchmark's network for CIFAR-10; ImageNet16-120 has 120 classes and images
    of 16 pixels.

    Args:
        archs: one row of six operations, integers 0..4, a cell.
        channels: C, of the stem and the first stage.
        cells_per_stage: cells in each of the three stages.
        num_classes: outputs of the classifier.
        in_channels: of the images.
        image_size: height and width of the images in pixels, a multiple of 4.

    Returns:
        The counts, an entry a cell.

    Raises:
        InputError: not a population of cells, a size below 1, or an image that two strides of 2 do
            not divide.
    """
    sizes = {
        "channels": channels,
        "cells_per_stage": cells_per_stage,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": image_size,
    }
    for name, value in sizes.items():
        if value < 1:
            raise InputError(name, value, "give at least 1")
    if image_size % STAGES[-1]:
        cure = f"the network halves the image twice; give a multiple of {STAGES[-1]}"
        raise InputError("image_size", image_size, cure)
    cells = check_archs(archs)
    live = live_edges_of(cells)
    counts, used = (
        np.stack([np.sum((cells == op) & edges, axis=1) for op in CONVOLUTIONS.values()], axis=1)
        for edges in (True, live)
    )
    areas = np.array(list(CONVOLUTIONS)) ** 2
    edge_params, edge_flops = np.zeros_like(areas), np.zeros_like(areas)
    for factor in STAGES:
        width, pixels = factor * channels, (image_size // factor) ** 2
        weights = areas * width**2
        edge_params += cells_per_stage * (weights + 2 * width)
        edge_flops += cells_per_stage * weights * pixels
    params, flops = _skeleton(channels, num_classes, in_channels, image_size)
    return Costs(
        params=params + counts @ edge_params,
        flops=flops + counts @ edge_flops,
        convolutions=counts.sum(axis=1),
        live_params=np.where(live.any(axis=1), params + used @ edge_params, 0),
    )


def _skeleton(
    channels: int, num_classes: int, in_channels: int, image_size: int
) -> tuple[int, int]:
    """Counts parameters and FLOPs of everything but the cells."""
    stem = 3**2 * in_channels * channels
    last = STAGES[-1] * channels
    classifier = last * num_classes + num_classes
    params = stem + 2 * channels + 2 * last + classifier
    flops = stem * image_size**2 + classifier
    for factor in STAGES[1:]:
        width, pixels = factor * channels, (image_size // factor) ** 2
        # Two 3x3 convolutions, each with a normalisation, beside a 1x1 shortcut without one.
        weights = (3**2 * width // 2 + 3**2 * width + width // 2) * width
        params += weights + 2 * 2 * width
        flops += weights * pixels
    return params, flops


def num_params(
    arch: ArchLike,
    *,
    channels: int = 16,
    cells_per_stage: int = 5,
    num_classes: int = 10,
    in_channels: int = 3,
) -> int:
    """Counts the trainable parameters of a cell's network, as the benchmark does.

    Args:
        arch: six operations, integers 0..4.
        channels: of the stem and the first stage.
        cells_per_stage: cells in each of the three stages.
        num_classes: outputs of the classifier.
        in_channels: of the images.

    Returns:
        The number of parameters.

    Raises:
        InputError: not a cell, or a size below 1.

    Example:
        >>> num_params([0] * 6)
        73306
    """
    costs = population_costs(
        check_arch(arch)[None],
        channels=channels,
        cells_per_stage=cells_per_stage,
        num_classes=num_classes,
        in_channels=in_channels,
    )
    return int(costs.params[0])


def num_flops(
    arch: ArchLike,
    *,
    channels: int = 16,
    cells_per_stage: int = 5,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
) -> int:
    """Counts the multiply-accumulates of a cell's network for one image, as the benchmark does.

    Args:
        arch: six operations, integers 0..4.
        channels: of the stem and the first stage.
        cells_per_stage: cells in each of the three stages.
        num_classes: outputs of the classifier.
        in_channels: of the images.
        image_size: height and width of the images in pixels, a multiple of 4.

    Returns:
        The count; the benchmark prints it in millions.

    Raises:
        InputError: not a cell, a size below 1, or an image that two strides of 2 do not divide.

    Example:
        >>> num_flops([0] * 6)
        7783050
    """
    costs = population_costs(
        check_arch(arch)[None],
        channels=channels,
        cells_per_stage=cells_per_stage,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
    )
    return int(costs.flops[0])


def num_convolutions(arch: ArchLike) -> int:
    """Counts the convolutions on the six edges of a cell, whether or not the output needs them.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        A number in 0..6.

    Raises:
        InputError: not a cell.

    Example:
        >>> num_convolutions([4, 2, 1, 2, 1, 1])
        2
    """
    return int(np.isin(check_arch(arch), list(CONVOLUTIONS.values())).sum())
