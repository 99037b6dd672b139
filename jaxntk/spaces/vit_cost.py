"""Parameters and FLOPs of vision transformers: what the spaces count alike.

FLOPs are multiply-accumulates of matrix products and convolutions for one image, those of attention
among them; biases, normalisation, softmax and activations count nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from jaxntk.errors import InputError


class ViTCosts(NamedTuple):
    """Counts for a population of vision transformers.

    Args:
        params: trainable parameters.
        flops: multiply-accumulates for one image.
        depth: transformer blocks.
        width: embedding dimension; in a pyramid that of the last stage.
    """

    params: Int64[np.ndarray, " num"]
    flops: Int64[np.ndarray, " num"]
    depth: Int64[np.ndarray, " num"]
    width: Int64[np.ndarray, " num"]


@dataclass(frozen=True)
class Limits:
    """Which costs are admitted, both ends included.

    Args:
        min_params: trainable parameters.
        max_params: trainable parameters.
        min_flops: multiply-accumulates for one image.
        max_flops: multiply-accumulates for one image.

    Raises:
        InputError: a lower limit above the upper one.
    """

    min_params: int | float = 0
    max_params: int | float = np.inf
    min_flops: int | float = 0
    max_flops: int | float = np.inf

    def __post_init__(self) -> None:
        """Checks that something can lie between the limits."""
        for name in ("params", "flops"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not low <= high:
                got = f"{low:g}, above max_{name}={high:g}"
                raise InputError(f"min_{name}", got, "give the smaller one first")

    def admits(self, costs: ViTCosts) -> Bool[np.ndarray, " num"]:
        """Tells which of a population lie within the limits.

        Args:
            costs: of the population.

        Returns:
            A flag for each.
        """
        params, flops = costs.params, costs.flops
        inside = (params >= self.min_params) & (params <= self.max_params)
        return inside & (flops >= self.min_flops) & (flops <= self.max_flops)

    def check_reach(self, smallest: ViTCosts, largest: ViTCosts) -> None:
        """Refuses limits that no architecture of a space can meet.

        Args:
            smallest: costs of the smallest architecture.
            largest: costs of the largest.

        Raises:
            InputError: the first limit that excludes all of them.
        """
        for name in ("params", "flops"):
            low, high = int(getattr(smallest, name)[0]), int(getattr(largest, name)[0])
            reach = f"architectures of this space have {low:,} to {high:,} {name}"
            if getattr(self, f"max_{name}") < low:
                raise InputError(f"max_{name}", f"{getattr(self, f'max_{name}'):g}", reach)
            if getattr(self, f"min_{name}") > high:
                raise InputError(f"min_{name}", f"{getattr(self, f'min_{name}'):g}", reach)


def check_sizes(**sizes: int) -> None:
    """Refuses sizes of a network that are not positive.

    Args:
        **sizes: by the name of their argument.

    Raises:
        InputError: the first that is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise InputError(name, size, "give at least 1")


def block_params(
    width: Int64[np.ndarray, "*shape"],
    attention: Int64[np.ndarray, "*shape"],
    hidden: Int64[np.ndarray, "*shape"],
) -> Int64[np.ndarray, "*shape"]:
    """Counts the parameters of pre-norm transformer blocks.

    Two layer norms, queries, keys and values with biases, a projection, two layers of an MLP.

    Args:
        width: embedding dimension E.
        attention: heads times their dimension, D.
        hidden: hidden units of the MLP, M.

    Returns:
        4 E + 3 D (E + 1) + E (D + 1) + M (E + 1) + E (M + 1).

    Example:
        >>> block_params(np.array([192]), np.array([192]), np.array([768])).tolist()
        [444864]
    """
    norms = 4 * width
    mixing = 3 * attention * (width + 1) + width * (attention + 1)
    return norms + mixing + hidden * (width + 1) + width * (hidden + 1)


def block_flops(
    tokens: Int64[np.ndarray, "*shape"] | int,
    width: Int64[np.ndarray, "*shape"],
    attention: Int64[np.ndarray, "*shape"],
    hidden: Int64[np.ndarray, "*shape"],
) -> Int64[np.ndarray, "*shape"]:
    """Counts the multiply-accumulates of transformer blocks on one image.

    Args:
        tokens: T, the class token included.
        width: embedding dimension E.
        attention: heads times their dimension, D.
        hidden: hidden units of the MLP, M.

    Returns:
        4 T E D + 2 T^2 D + 2 T E M.

    Example:
        >>> block_flops(197, np.array([192]), np.array([192]), np.array([768])).tolist()
        [102049152]
    """
    return 4 * tokens * width * attention + 2 * tokens**2 * attention + 2 * tokens * width * hidden
