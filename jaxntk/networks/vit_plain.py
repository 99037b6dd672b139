"""Vision transformers the slow way: one program for each architecture, at its own size.

An independent second implementation that masked networks and their kernels are tested against.
Sizes are Python numbers, blocks are unrolled, and every operation is JAX's own.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxntk.networks.vit_layers import LAYER_NORM_EPSILON
from jaxntk.spaces import pit
from jaxntk.spaces.autoformer import Choices, Sizes

Params = Mapping[str, Any]


def own_params(params: Params, sizes: Sizes, space: Choices) -> dict[str, Any]:
    """Cuts the parameters of one architecture out of those of the whole space.

    Args:
        params: the collection ``params`` of :class:`~jaxntk.networks.autoformer.AutoFormer`.
        sizes: the architecture.
        space: that it belongs to.

    Returns:
        Arrays of the architecture's own size, by the same names; ``blocks`` is a list.
    """
    width = sizes.embed_dim
    out: dict[str, Any] = {
        "patch_embedding": jax.tree.map(lambda leaf: leaf[..., :width], params["patch_embedding"]),
        "positions": jax.tree.map(lambda leaf: leaf[..., :width], params["positions"]),
        "norm": jax.tree.map(lambda leaf: leaf[:width], params["norm"]),
        "classifier": {
            "kernel": params["classifier"]["kernel"][:width],
            "bias": params["classifier"]["bias"],
        },
    }
    out["blocks"] = [
        _own_block(
            jax.tree.map(lambda leaf, at=at: leaf[at], params["blocks"]),
            width,
            heads * space.head_dim if space.head_dim else width,
            int(width * ratio),
        )
        for at, (heads, ratio) in enumerate(zip(sizes.heads, sizes.mlp_ratios, strict=True))
    ]
    return out


def plain_pit_logits(
    params: Params,
    x: Float[Array, "n h w c"],
    sizes: pit.Sizes,
    patch: tuple[int, int] = (pit.PATCH_SIZE, pit.STRIDE),
) -> Float[Array, "n classes"]:
    """Applies one network of PiT's space.

    Args:
        params: of a :class:`~jaxntk.networks.pit.PiT` whose class is the architecture's own sizes.
        x: the images.
        sizes: the architecture.
        patch: side of a patch and stride from one to the next.

    Returns:
        The logits.
    """
    image = _convolve(x, params["patch_embedding"], *patch, 0)
    side, width = image.shape[1], image.shape[-1]
    image = image.reshape(len(x), -1, width) + params["positions"]["table"]
    first = jnp.tile(params["positions"]["class_token"], (len(x), 1, 1))
    for stage, (depth, heads) in enumerate(zip(sizes.depths, sizes.heads, strict=True)):
        if stage:
            pool = params[f"pooling_{stage}"]
            first = _affine(first, pool["class_token"])
            image = image.reshape(len(x), side, side, width)
            image = _convolve(image, pool["image"], pit.POOL, 2, pit.POOL // 2, groups=width)
            side, width = image.shape[1], image.shape[-1]
            image = image.reshape(len(x), -1, width)
        tokens = jnp.concatenate([first, image], axis=1)
        for at in range(depth):
            stacked = params[f"stage_{stage + 1}"]
            block = jax.tree.map(lambda leaf, at=at: leaf[at], stacked)
            tokens = _apply_block(block, tokens, heads)
        first, image = tokens[:, :1], tokens[:, 1:]
    return _affine(_norm(first, params["norm"]), params["classifier"])[:, 0]


def plain_logits(
    params: Params,
    x: Float[Array, "n h w c"],
    heads: tuple[int, ...],
    *,
    patch_size: int,
    pooling: str = "mean",
) -> Float[Array, "n classes"]:
    """Applies one network.

    Args:
        params: what :func:`own_params` returns.
        x: the images.
        heads: of each block.
        patch_size: height and width of a patch.
        pooling: ``mean`` or ``class_token``.

    Returns:
        The logits.
    """
    tokens = _convolve(x, params["patch_embedding"], patch_size, patch_size, 0)
    tokens = tokens.reshape(len(x), -1, tokens.shape[-1])
    first = jnp.tile(params["positions"]["class_token"], (len(x), 1, 1))
    tokens = jnp.concatenate([first, tokens], axis=1) + params["positions"]["table"]
    for block, count in zip(params["blocks"], heads, strict=True):
        tokens = _apply_block(block, tokens, count)
    tokens = _norm(tokens, params["norm"])
    pooled = {"class_token": tokens[:, 0], "mean": tokens[:, 1:].mean(axis=1)}[pooling]
    return _affine(pooled, params["classifier"])


def _convolve(
    x: Array, params: Params, size: int, stride: int, padding: int, groups: int = 1
) -> Array:
    out = jax.lax.conv_general_dilated(
        x,
        params["kernel"].reshape(size, size, -1, params["bias"].shape[0]),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return out + params["bias"]


def _apply_block(block: Params, tokens: Array, heads: int) -> Array:
    tokens = tokens + _attention(block, _norm(tokens, block["norm_1"]), heads)
    hidden = _affine(_norm(tokens, block["norm_2"]), block["mlp_in"])
    hidden = hidden * (1 + jax.lax.erf(hidden / 2**0.5)) / 2
    return tokens + _affine(hidden, block["mlp_out"])


def _own_block(block: Params, width: int, mixed: int, hidden: int) -> dict[str, Any]:
    whole = block["projection"]["kernel"].shape[0]
    qkv = block["query_key_value"]
    return {
        "norm_1": jax.tree.map(lambda leaf: leaf[:width], block["norm_1"]),
        "norm_2": jax.tree.map(lambda leaf: leaf[:width], block["norm_2"]),
        "query_key_value": {
            "kernel": qkv["kernel"].reshape(-1, 3, whole)[:width, :, :mixed].reshape(width, -1),
            "bias": qkv["bias"].reshape(3, whole)[:, :mixed].reshape(-1),
        },
        "projection": _corner(block["projection"], mixed, width),
        "mlp_in": _corner(block["mlp_in"], width, hidden),
        "mlp_out": _corner(block["mlp_out"], hidden, width),
    }


def _corner(params: Params, rows: int, columns: int) -> dict[str, Array]:
    return {"kernel": params["kernel"][:rows, :columns], "bias": params["bias"][:columns]}


def _affine(x: Array, params: Params) -> Array:
    return x @ params["kernel"] + params["bias"]


def _norm(x: Array, params: Params) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + LAYER_NORM_EPSILON) * params["scale"] + params["bias"]


def _attention(block: Params, x: Array, heads: int) -> Array:
    query, key, value = jnp.split(_affine(x, block["query_key_value"]), 3, axis=-1)
    size = query.shape[-1] // heads
    out = []
    for head in range(heads):
        mine = slice(head * size, (head + 1) * size)
        dots = query[..., mine] @ jnp.swapaxes(key[..., mine], 1, 2) / size**0.5
        out.append(jax.nn.softmax(dots, axis=-1) @ value[..., mine])
    return _affine(jnp.concatenate(out, axis=-1), block["projection"])
