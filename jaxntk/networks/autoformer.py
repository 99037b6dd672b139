"""AutoFormer's vision transformers as one Flax network: the architecture is an input.

A pre-norm vision transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) with the choices of
:mod:`jaxntk.spaces.autoformer`. Every matrix has the size of the largest choice, of which a smaller
one uses the first rows and columns, as in AutoFormer's supernet (Chen et al., ICCV 2021): weights
and kernels are those of the network built at its own size (:mod:`jaxntk.networks.vit_plain`).
Blocks beyond the depth are skipped, and attention runs at its own size in a switch between the
shapes there are. Elsewhere the smallest architecture costs as much as the largest: 1.8 times its
own multiply-accumulates in an MLP of `TINY`, 2.6 times in one of `SMALL`.

Tokens are averaged, the class token left out, as ViT-Bench-101 and AutoFormer do, or the class
token is read. Stochastic depth is left out: a kernel belongs to one network.
"""

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.networks.vit_block import BlockSizes, blocks, channel_mask
from jaxntk.networks.vit_layers import (
    Affine,
    AffineParameters,
    NormParameters,
    PatchEmbedding,
    Positions,
    affine,
    layer_norm,
)
from jaxntk.spaces.autoformer import Choices

POOLINGS = ("mean", "class_token")


def attention_shapes(space: Choices) -> tuple[tuple[int, int], ...]:
    """Lists the shapes that attention takes in a space.

    Args:
        space: the choices.

    Returns:
        Channels and heads; an architecture's embedding changes slowest.
    """
    return tuple(
        (heads * space.head_dim if space.head_dim else embed, heads)
        for embed in space.embed_dims
        for heads in space.heads
    )


def block_sizes(arch: Int[Array, " genes"], space: Choices) -> BlockSizes:
    """Works out what the blocks of an architecture are like.

    Args:
        arch: the encoding.
        space: that it belongs to.

    Returns:
        An entry a block, of all blocks that there can be.
    """
    heads, ratios = arch[2 : 2 + space.max_depth], arch[2 + space.max_depth :]
    hidden = np.array([
        [int(embed * ratio) for ratio in space.mlp_ratios] for embed in space.embed_dims
    ])
    shape = arch[0] * len(space.heads) + heads
    return BlockSizes(
        awake=jnp.arange(space.max_depth) < jnp.asarray(space.depths)[arch[1]],
        shape=shape,
        hidden=jnp.asarray(hidden)[arch[0], ratios],
    )


class AutoFormer(nn.Module):
    """The whole network, ``apply(variables, x, arch) -> logits``.

    Args:
        space: what can be chosen.
        num_classes: outputs of the classifier.
        patch_size: height and width of a patch, which divides the image.
        pooling: ``mean`` of the image's tokens, or ``class_token``.
    """

    space: Choices
    num_classes: int
    patch_size: int = 16
    pooling: str = "mean"

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Int[Array, " genes"]
    ) -> Float[Array, "n classes"]:
        """Returns the logits of images under one architecture.

        Args:
            x: standardised images, channels last.
            arch: the encoding; traced, so that another architecture does not compile anew.

        Returns:
            One row of logits an image.

        Raises:
            InputError: images that patches do not tile, or an unknown pooling.
        """
        space = self.space
        check_choice("pooling", self.pooling, POOLINGS)
        if any(side % self.patch_size for side in x.shape[1:3]):
            cure = f"give sides that are multiples of patch_size={self.patch_size}"
            raise InputError("x", f"images of {x.shape[1]} x {x.shape[2]}", cure)
        width = max(space.embed_dims)
        active = jnp.arange(width) < jnp.asarray(space.embed_dims)[arch[0]]
        x = PatchEmbedding(width, self.patch_size, name="patch_embedding")(x)
        x = Positions(name="positions")(x) * channel_mask(active, x)
        shapes = attention_shapes(space)
        transformer = blocks(
            space.max_depth,
            mixed=max(channels for channels, _ in shapes),
            hidden=max(int(width * ratio) for ratio in space.mlp_ratios),
            shapes=shapes,
            name="blocks",
        )
        x, _ = transformer(x, block_sizes(arch, space), active)
        x = layer_norm(x, NormParameters(width, name="norm")(x), active)
        x = x[:, :1] if self.pooling == "class_token" else x[:, 1:].mean(axis=1, keepdims=True)
        head: Affine = AffineParameters(width, self.num_classes, name="classifier")(x)
        return affine(x, head)[:, 0]


def logits(
    network: AutoFormer,
    params: Mapping[str, Any],
    x: Float[Array, "n h w c"],
    arch: Int[Array, " genes"],
) -> Float[Array, "n classes"]:
    """Applies the network.

    Args:
        network: the network.
        params: its parameters.
        x: standardised images.
        arch: the encoding of an architecture.

    Returns:
        The logits.
    """
    return cast(Array, network.apply({"params": params}, x, arch))
