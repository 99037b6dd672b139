"""PiT's vision transformers as a few Flax networks: the architecture is an input.

The pooling-based vision transformer (Heo et al., ICCV 2021, arXiv 2103.16302) with the choices of
:mod:`jaxntk.spaces.pit`: overlapping patches, three stages of transformer blocks, and between them
a depthwise convolution of stride 2 for the tokens of the image and a linear map for the class
token, which the classifier reads in the end.

Widths differ by a factor of ten, so there is one network for each of a few shape classes
(:mod:`jaxntk.networks.pit_classes`), masked down to an architecture. The parameters of a class are
the first rows and columns of those of the widest network (:func:`class_params`), so that one draw
serves all classes. For that, matrices are drawn with one spread whatever their size, as DeiT draws
them, and their biases are 0; the original leaves both to PyTorch, whose spread falls as a network
gets wider.
"""

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from jaxntk.errors import InputError
from jaxntk.networks.initializers import initialization
from jaxntk.networks.layers import add_bias
from jaxntk.networks.pit_classes import ShapeClass, shape_classes
from jaxntk.networks.precision import matmul_precision
from jaxntk.networks.vit_block import BlockSizes, blocks, channel_mask
from jaxntk.networks.vit_layers import (
    Affine,
    AffineParameters,
    NormParameters,
    PatchEmbedding,
    affine,
    draw_weights,
    layer_norm,
)
from jaxntk.spaces import pit

MULTIPLES = (1, 2, 4)
"""How many times wider a stage can be than the one before."""


class Pooling(nn.Module):
    """Halves the tokens of the image along each axis and widens all of them."""

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t c"], multiple: Int[Array, ""], active: Bool[Array, " d"]
    ) -> Float[Array, "n t2 d"]:
        """Applies the maps; the class token comes first, before and after."""
        n, t, c = x.shape
        first = affine(x[:, :1], AffineParameters(c, self.features, name="class_token")(x))
        # Output channel o reads input channel o // multiple: a convolution in groups.
        wider = [lambda x, each=each: _repeat(x, each, self.features) for each in MULTIPLES]
        image = lax.switch(multiple, wider, x[:, 1:])
        side = round((t - 1) ** 0.5)
        image = image.reshape(n, side, side, self.features)
        draw = initialization("pytorch")
        out = nn.Conv(
            self.features,
            (pit.POOL, pit.POOL),
            strides=2,
            padding=pit.POOL // 2,
            feature_group_count=self.features,
            kernel_init=draw.kernel,
            bias_init=draw.bias(pit.POOL**2),
            param_dtype=x.dtype,
            precision=matmul_precision(),
            name="image",
        )(image)
        out = out.reshape(n, -1, self.features)
        return jnp.concatenate([first, out], axis=1) * channel_mask(active, x)


class PiT(nn.Module):
    """The network of one shape class, ``apply(variables, x, arch) -> logits``.

    Args:
        num_classes: outputs of the classifier.
        shape: the class; architectures of another are not represented.
        patch_size: height and width of a patch.
        stride: from one patch to the next.
    """

    num_classes: int
    shape: ShapeClass
    patch_size: int = pit.PATCH_SIZE
    stride: int = pit.STRIDE

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
    ) -> Float[Array, "n classes"]:
        """Returns the logits of images under one architecture.

        Args:
            x: standardised square images, channels last.
            arch: the encoding; traced, so that another one of the class does not compile anew.

        Returns:
            One row of logits an image; NaN for an architecture that is no part of the class.

        Raises:
            InputError: images that are not square, or smaller than a patch.
        """
        shape = self.shape
        if x.shape[1] != x.shape[2]:
            raise InputError("x", f"images of {x.shape[1]} x {x.shape[2]}", "give square ones")
        heads = jnp.asarray(pit.HEADS)[arch[-2]]
        widths = jnp.asarray(pit.BASE_DIMS)[arch[0]] * heads
        active = [
            jnp.arange(most) < width for most, width in zip(shape.widths, widths, strict=True)
        ]
        embed = PatchEmbedding(
            shape.widths[0], self.patch_size, self.stride, name="patch_embedding"
        )
        x = embed(x)
        x = Tokens(name="positions")(x) * channel_mask(active[0], x)
        for stage in range(pit.STAGES):
            if stage:
                multiple = heads[stage] // heads[stage - 1]
                number = jnp.searchsorted(jnp.asarray(MULTIPLES), multiple)
                pool = Pooling(shape.widths[stage], name=f"pooling_{stage}")
                x = pool(x, number, active[stage])
            transformer = blocks(
                max(pit.DEPTHS[stage]),
                mixed=shape.widths[stage],
                hidden=shape.hidden[stage],
                shapes=shape.shapes[stage],
                name=f"stage_{stage + 1}",
            )
            x, _ = transformer(x, _block_sizes(arch, stage, shape), active[stage])
        x = layer_norm(x[:, :1], NormParameters(shape.widths[-1], name="norm")(x), active[-1])
        head: Affine = AffineParameters(shape.widths[-1], self.num_classes, name="classifier")(x)
        return jnp.where(contains(shape, arch), affine(x, head)[:, 0], jnp.nan)


class Tokens(nn.Module):
    """Adds a table of positions to the tokens of the image, and puts a class token before them."""

    @nn.compact
    def __call__(self, tokens: Float[Array, "n t c"]) -> Float[Array, "n t+1 c"]:
        """Returns one token more."""
        n, t, c = tokens.shape
        table = self.param("table", draw_weights, (t, c), tokens.dtype)
        first = self.param("class_token", draw_weights, (c,), tokens.dtype)
        first = add_bias(jnp.zeros((n, 1, c), tokens.dtype), first)
        return jnp.concatenate([first, add_bias(tokens, table)], axis=1)


def logits(
    network: PiT, params: Mapping[str, Any], x: Float[Array, "n h w c"], arch: Int[Array, "6"]
) -> Float[Array, "n classes"]:
    """Applies the network.

    Args:
        network: the network of the architecture's class.
        params: its parameters.
        x: standardised images.
        arch: the encoding of an architecture.

    Returns:
        The logits.

    Raises:
        InputError: an architecture that is no part of the class, where it is not traced.
    """
    if not isinstance(arch, Tracer) and not contains(network.shape, arch):
        cure = "take the network of its own class; see jaxntk.networks.pit_classes.class_of"
        raise InputError("arch", f"{pit.to_string(arch)} for a class without it", cure)
    return cast(Array, network.apply({"params": params}, x, arch))


def contains(shape: ShapeClass, arch: Int[Array, "6"]) -> Bool[Array, ""]:
    """Tells whether an architecture is part of a class.

    Args:
        shape: the class.
        arch: the encoding; it may be traced.

    Returns:
        A flag.
    """
    inside = jnp.asarray(True)
    for stage in range(pit.STAGES):
        width, heads, hidden = _stage_sizes(arch, stage)
        there = jnp.asarray(shape.shapes[stage])
        known = jnp.any((there[:, 0] == width) & (there[:, 1] == heads))
        inside = inside & known & (hidden <= shape.hidden[stage])
    return inside


def widest() -> ShapeClass:
    """Returns the one class that all architectures are part of."""
    return shape_classes(1)[0][0]


def class_params(params: Mapping[str, Any], network: PiT, image_shape: tuple[int, ...]) -> Any:
    """Cuts the parameters of a class out of those of a wider one.

    Args:
        params: of the network of a class at least as large in everything, such as :func:`widest`.
        network: of the class that is wanted.
        image_shape: height, width, channels of one image.

    Returns:
        The parameters of the class.
    """

    def init() -> Any:
        x = jnp.zeros((1, *image_shape))
        return network.init(jax.random.key(0), x, jnp.zeros(6, jnp.int32))["params"]

    def cut(path: tuple, leaf: Array, like: jax.ShapeDtypeStruct) -> Array:
        if path[-2].key != "query_key_value":
            return leaf[tuple(slice(length) for length in like.shape)]
        # Queries, keys and values lie side by side, and each is cut by itself.
        own = (*like.shape[:-1], 3, like.shape[-1] // 3)
        parts = leaf.reshape(*leaf.shape[:-1], 3, -1)
        return parts[tuple(slice(length) for length in own)].reshape(like.shape)

    return jax.tree.map_with_path(cut, params, jax.eval_shape(init))


def _repeat(x: Float[Array, "n t c"], times: int, features: int) -> Float[Array, "n t d"]:
    wide = jnp.repeat(x, times, axis=-1)[..., :features]
    return jnp.pad(wide, ((0, 0), (0, 0), (0, features - wide.shape[-1])))


def _block_sizes(arch: Int[Array, "6"], stage: int, shape: ShapeClass) -> BlockSizes:
    """Works out what the blocks of a stage are like; all are alike."""
    most = max(pit.DEPTHS[stage])
    width, heads, hidden = _stage_sizes(arch, stage)
    shapes = jnp.asarray(shape.shapes[stage])
    same = (shapes[:, 0] == width) & (shapes[:, 1] == heads)
    return BlockSizes(
        awake=jnp.arange(most) < jnp.asarray(pit.DEPTHS[stage])[arch[1 + stage]],
        shape=jnp.full(most, jnp.argmax(same)),
        hidden=jnp.full(most, hidden),
    )


def _stage_sizes(arch: Int[Array, "6"], stage: int) -> tuple[Array, Array, Array]:
    """Width, heads and hidden units of a stage."""
    heads = jnp.asarray(np.array(pit.HEADS)[:, stage])[arch[-2]]
    width = jnp.asarray(pit.BASE_DIMS)[arch[0]] * heads
    return width, heads, width * jnp.asarray(pit.MLP_RATIOS)[arch[-1]]
