"""Ordinary Flax networks that the benchmarks measure."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Mlp(nn.Module):
    """Dense layers with ReLU between them."""

    width: int
    depth: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        """Returns the logits."""
        for _ in range(self.depth):
            x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.outputs)(x)


class VisionTransformer(nn.Module):
    """A plain ViT: fixed sine and cosine positions, blocks, the mean over tokens.

    The defaults are those of ViT-Tiny. Source: Beyer, Zhai, Kolesnikov, "Better plain ViT baselines
    for ImageNet-1k", 2022, arXiv 2205.01580.
    """

    patch: int
    width: int = 192
    depth: int = 12
    heads: int = 3
    outputs: int = 10

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n o"]:
        """Returns the logits."""
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, strides=size, padding="VALID")(x)
        n, height, width, channels = x.shape
        positions = jnp.asarray(sincos_positions(height, width, channels), x.dtype)
        x = x.reshape(n, height * width, channels) + positions[None]
        for _ in range(self.depth):
            inner = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads)(inner)
            inner = nn.LayerNorm()(x)
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(inner)))
        return nn.Dense(self.outputs)(nn.LayerNorm()(x).mean(axis=1))


def sincos_positions(height: int, width: int, channels: int) -> Float[np.ndarray, "t c"]:
    """Returns sines and cosines of a patch's row and column at falling frequencies.

    Args:
        height: in patches.
        width: in patches.
        channels: a multiple of 4.

    Returns:
        One row a patch.
    """
    row, column = np.divmod(np.arange(height * width), width)
    frequency = 1e4 ** -np.linspace(0, 1, channels // 4)
    angles = [np.outer(place, frequency) for place in (row, column)]
    return np.concatenate([wave(each) for each in angles for wave in (np.sin, np.cos)], axis=1)
