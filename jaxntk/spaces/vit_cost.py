"""Parameters and FLOPs of vision transformers: what the spaces count alike.

FLOPs are multiply-accumulates of matrix products and convolutions for one image, those of attention
among them; biases, normalisation, softmax and activations count nothing.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

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


class Blocks(NamedTuple):
    """The blocks of one architecture, first to last.

    Args:
        widths: embedding dimension.
        heads: of the attention.
        hidden: units of the MLP.
    """

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    hidden: tuple[int, ...]


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
