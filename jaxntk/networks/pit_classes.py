"""Shape classes of PiT: which architectures share a compiled network.

Widths of a PiT differ by a factor of ten. One network for all of them would mostly multiply zeros,
one for each of 160 shapes (base dimension, heads, MLP ratio) would mostly be compiled. A class is a
network as wide as its widest member in every stage, and as many hidden units; members use a part of
it. Depths are no part of a shape, as blocks that are not there are skipped.

The cost of a shape in a class is the multiply-accumulates of the class's blocks at the mean depth
of each stage. Beginning with a class for each shape, the two whose union adds least to the sum of
all costs become one, until there are as few as was asked for (Ward's agglomeration, with this cost
in the place of variance).
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from jaxntk.errors import InputError
from jaxntk.spaces import genes, pit
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import block_flops

DEFAULT_CLASSES = 8


class ShapeClass(NamedTuple):
    """Sizes of a network that several shapes are parts of.

    Args:
        widths: channels of each stage.
        hidden: hidden units of each stage.
        shapes: of the attention of each stage, channels and heads, of all members.
    """

    widths: tuple[int, ...]
    hidden: tuple[int, ...]
    shapes: tuple[tuple[tuple[int, int], ...], ...]


def shape_classes(
    num: int = DEFAULT_CLASSES, image_size: int = 224
) -> tuple[tuple[ShapeClass, ...], Int32[np.ndarray, "bases heads ratios"], float]:
    """Divides all shapes among a few classes.

    Args:
        num: how many classes.
        image_size: that costs are counted for.

    Returns:
        The classes; the number of the class of each base dimension, heads and MLP ratio; and the
        multiply-accumulates of all shapes in their classes, over those in their own networks.

    Raises:
        InputError: fewer than one class or more than there are shapes, or too small an image.
    """
    return _shape_classes(num, image_size)


@cache
def _shape_classes(num: int, image_size: int) -> tuple[Any, Any, float]:
    sizes = (len(pit.BASE_DIMS), len(pit.HEADS), len(pit.MLP_RATIOS))
    shapes = np.indices(sizes).reshape(3, -1).T
    if not 1 <= num <= len(shapes):
        raise InputError("num", num, f"give 1 to {len(shapes)} classes")
    bounds = np.array([_sizes(*shape) for shape in shapes.tolist()])
    tokens = np.array([side**2 + 1 for side in pit.grids(image_size)])
    own = _cost(bounds, tokens)
    members = _merge(bounds, tokens, num)
    labels = np.empty(len(shapes), np.int32)
    widest = np.empty_like(bounds)
    classes = []
    for number, each in enumerate(members):
        labels[each] = number
        widest[each] = most = bounds[each].max(axis=0)
        sizes_of_most = tuple(most.tolist())
        attention = _attention_shapes(shapes[each])
        classes.append(ShapeClass(sizes_of_most[:3], sizes_of_most[3:], attention))
    overhead = float(_cost(widest, tokens).sum() / own.sum())
    # Kept and handed to every caller.
    labels.flags.writeable = False
    return tuple(classes), labels.reshape(sizes), overhead


def class_of(arch: GenesLike, num: int = DEFAULT_CLASSES, image_size: int = 224) -> ShapeClass:
    """Returns the class that an architecture is scored in.

    Args:
        arch: its encoding.
        num: how many classes there are.
        image_size: that costs are counted for.

    Returns:
        The class.

    Raises:
        InputError: not an encoding of the space, or an impossible number of classes.
    """
    classes, labels, _ = shape_classes(num, image_size)
    base, *_, heads, ratio = genes.check_one(arch, pit.GENE_SIZES).tolist()
    return classes[labels[base, heads, ratio]]


def _sizes(base: int, heads: int, ratio: int) -> tuple[int, ...]:
    """Widths, then hidden units, of the three stages of a shape."""
    widths = [pit.BASE_DIMS[base] * each for each in pit.HEADS[heads]]
    return (*widths, *(pit.MLP_RATIOS[ratio] * width for width in widths))


def _attention_shapes(
    shapes: Int[np.ndarray, "members 3"],
) -> tuple[tuple[tuple[int, int], ...], ...]:
    found = [
        {(pit.BASE_DIMS[base] * heads, heads) for base, heads in pairs}
        for pairs in (
            {(base, pit.HEADS[heads][stage]) for base, heads, _ in shapes.tolist()}
            for stage in range(pit.STAGES)
        )
    ]
    return tuple(tuple(sorted(each)) for each in found)


def _cost(
    sizes: Int[np.ndarray, "*shape 6"], tokens: Int[np.ndarray, "3"]
) -> Float[np.ndarray, "*shape"]:
    widths, hidden = sizes[..., :3], sizes[..., 3:]
    depths = np.array([np.mean(options) for options in pit.DEPTHS])
    flops = block_flops(np.broadcast_to(tokens, widths.shape), widths, widths, hidden)
    return (depths * flops).sum(axis=-1)


def _merge(
    bounds: Int[np.ndarray, "shapes 6"], tokens: Int[np.ndarray, "3"], num: int
) -> list[list[int]]:
    """Joins classes until there are ``num``; the cheapest union first."""
    members = [[index] for index in range(len(bounds))]
    widest, counts = bounds.copy(), np.ones(len(bounds))
    while len(members) > num:
        costs = counts * _cost(widest, tokens)
        together = np.maximum(widest[:, None], widest[None])
        added = (counts[:, None] + counts) * _cost(together, tokens) - costs[:, None] - costs
        added[np.tril_indices(len(members))] = np.inf
        one, other = np.unravel_index(np.argmin(added), added.shape)
        members[one] += members.pop(other)
        widest[one] = together[one, other]
        counts[one] += counts[other]
        widest, counts = np.delete(widest, other, axis=0), np.delete(counts, other)
    return members
