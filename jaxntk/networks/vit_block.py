"""One transformer block at the largest size, masked down to that of an architecture.

Pre-norm, as in the vision transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929): attention
and an MLP, each behind a layer norm and beside a way around it. A block that an architecture does
not have is skipped. Attention runs at its own size, in a switch between the shapes there are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxntk.networks.vit_layers import (
    Affine,
    AffineParameters,
    NormParameters,
    affine,
    attention,
    layer_norm,
)

Shape = tuple[int, int]
"""Channels and heads of an attention."""


class BlockSizes(NamedTuple):
    """What one block of an architecture is like, traced.

    Args:
        awake: whether it is there.
        shape: number of the shape of its attention, among those there are.
        hidden: active hidden units.
    """

    awake: Bool[Array, "*blocks"]
    shape: Int[Array, "*blocks"]
    hidden: Int[Array, "*blocks"]


class BlockParameters(NamedTuple):
    """Parameters of a block, declared but not applied."""

    norm_1: Affine
    query_key_value: Affine
    projection: Affine
    norm_2: Affine
    mlp_in: Affine
    mlp_out: Affine


def declare_block(
    like: Float[Array, "..."], width: int, mixed: int, hidden: int
) -> BlockParameters:
    """Declares the parameters of a block; to be called in the compact method of a module.

    Args:
        like: an array of their dtype.
        width: channels of a token.
        mixed: channels of the attention.
        hidden: hidden units.

    Returns:
        The parameters.
    """

    def linear(name: str, inputs: int, features: int) -> Affine:
        return AffineParameters(inputs, features, name=name)(like)

    return BlockParameters(
        NormParameters(width, name="norm_1")(like),
        linear("query_key_value", width, 3 * mixed),
        linear("projection", mixed, width),
        NormParameters(width, name="norm_2")(like),
        linear("mlp_in", width, hidden),
        linear("mlp_out", hidden, width),
    )


def apply_block(
    x: Float[Array, "n t e"],
    parameters: BlockParameters,
    sizes: BlockSizes,
    active: Bool[Array, " e"],
    shapes: Sequence[Shape],
) -> Float[Array, "n t e"]:
    """Applies a block, or hands its input on where the architecture has none.

    Args:
        x: tokens, 0 in channels that are not active.
        parameters: what :func:`declare_block` declared.
        sizes: of the architecture's block.
        active: its channels.
        shapes: that attention can take; ``sizes.shape`` counts in them.

    Returns:
        Tokens, 0 in channels that are not active.
    """
    hidden = parameters.mlp_out.weight.shape[0]

    def apply(x: Array) -> Array:
        mask = channel_mask(active, x)
        out = affine(layer_norm(x, parameters.norm_1, active), parameters.query_key_value)
        out = _attend(out.reshape(*out.shape[:2], 3, -1), sizes.shape, shapes)
        x = x + affine(out, parameters.projection) * mask
        out = affine(layer_norm(x, parameters.norm_2, active), parameters.mlp_in)
        units = channel_mask(jnp.arange(hidden) < sizes.hidden, x)
        out = jax.nn.gelu(out, approximate=False) * units
        return x + affine(out, parameters.mlp_out) * mask

    return lax.cond(sizes.awake, apply, lambda x: x, x)


class Block(nn.Module):
    """A block of an architecture, or nothing where it has fewer.

    Args:
        mixed: channels of the largest attention.
        hidden: most hidden units.
        shapes: that attention can take.
    """

    mixed: int
    hidden: int
    shapes: tuple[Shape, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t e"], sizes: BlockSizes, active: Bool[Array, " e"]
    ) -> tuple[Float[Array, "n t e"], None]:
        """Applies the block, or hands its input on if it is not there."""
        parameters = declare_block(x, x.shape[-1], self.mixed, self.hidden)
        return apply_block(x, parameters, sizes, active, self.shapes), None


def blocks(
    num: int, *, mixed: int, hidden: int, shapes: tuple[Shape, ...], name: str
) -> Callable[[Array, BlockSizes, Array], tuple[Array, None]]:
    """Makes blocks of one form that follow each other and are compiled once.

    Args:
        num: most blocks.
        mixed: channels of the largest attention.
        hidden: most hidden units.
        shapes: that attention can take.
        name: of the parameters.

    Returns:
        ``(tokens, sizes, active) -> (tokens, None)``; ``sizes`` has an entry a block.
    """
    return nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]  Flax's own idiom
        length=num,
    )(mixed, hidden, shapes, name=name)


def channel_mask(active: Bool[Array, " c"], like: Float[Array, "n t d"]) -> Float[Array, "1 1 c"]:
    """Returns 1 in active channels and 0 in the others, to multiply tokens by.

    Args:
        active: the channels that there are.
        like: an array of the dtype that is wanted.

    Returns:
        The mask.
    """
    return active.astype(like.dtype).reshape(1, 1, -1)


def _attend(
    qkv: Float[Array, "n t 3 d"], shape: Int[Array, ""], shapes: Sequence[Shape]
) -> Float[Array, "n t d"]:
    distinct = tuple(dict.fromkeys(shapes))
    number = jnp.asarray([distinct.index(each) for each in shapes])[shape]
    return lax.switch(number, [_attention_of(*each) for each in distinct], qkv)


def _attention_of(channels: int, heads: int) -> Callable[[Array], Array]:
    """Attention at its own size; 0 in the channels beyond it."""

    def attend(qkv: Array) -> Array:
        out = attention(qkv[..., :channels], heads)
        return jnp.pad(out, ((0, 0), (0, 0), (0, qkv.shape[-1] - channels)))

    return attend
