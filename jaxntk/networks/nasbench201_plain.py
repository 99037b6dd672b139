"""NAS-Bench-201 the slow way: one program for each cell, ordinary operations, no rules of our own.

An independent second implementation that the fast network and its kernels are tested against and
timed against. Operations are resolved in Python, so each cell compiles anew; cells are unrolled;
convolutions, pooling and their gradients are JAX's own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxntk.networks.layers import BATCH_NORM_EPSILON
from jaxntk.spaces.nasbench201 import EDGES, OPS

Statistics = tuple[Array, Array]
Normalize = Callable[[str, Array], Array]


def plain_logits(
    params: Mapping[str, Any],
    x: Float[Array, "n h w c"],
    arch: tuple[int, ...],
    normalize: Normalize,
) -> Float[Array, "n classes"]:
    """Applies the network of one cell.

    Args:
        params: the collection ``params`` of :class:`~jaxntk.networks.nasbench201.NasBench201`.
        x: the images.
        arch: six operations, 0..4, as Python numbers.
        normalize: ``(path, images) -> images``, what batch normalisation does before its scale; the
            path names the layer.

    Returns:
        The logits.
    """
    x = _conv(x, params["stem"])
    x = _scale(normalize("stem_norm", x), params["stem_norm"])
    for stage in (1, 2, 3):
        if stage > 1:
            x = _reduction(params[f"reduction_{stage - 1}"], x, f"reduction_{stage - 1}", normalize)
        stacked = params[f"stage_{stage}"]
        for index in range(len(jax.tree.leaves(stacked)[0])):
            cell = jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
            x = _cell(cell, x, arch, f"stage_{stage}/{index}", normalize)
    x = jax.nn.relu(_scale(normalize("norm", x), params["norm"]))
    return x.mean(axis=(1, 2)) @ params["classifier"]["kernel"] + params["classifier"]["bias"][None]


def batch_statistics(
    params: Mapping[str, Any], x: Float[Array, "n h w c"], arch: tuple[int, ...]
) -> dict[str, Statistics]:
    """Returns mean and variance that each normalisation sees on a batch.

    Args:
        params: the parameters.
        x: the images.
        arch: six operations as Python numbers.

    Returns:
        ``{path: (mean, variance)}``.
    """
    seen: dict[str, Statistics] = {}

    def record(path: str, x: Array) -> Array:
        seen[path] = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        return standardize(x, *seen[path])

    plain_logits(params, x, arch, record)
    return seen


def standardize(x: Array, mean: Array, var: Array) -> Array:
    """Returns ``(x - mean) / sqrt(var + 1e-5)`` for each channel.

    Args:
        x: images, channels last.
        mean: of each channel.
        var: of each channel.

    Returns:
        Images.
    """
    mean, var = (moment.reshape(1, 1, 1, -1) for moment in (mean, var))
    return (x - mean) / jnp.sqrt(var + jnp.asarray(BATCH_NORM_EPSILON, x.dtype))


def _cell(
    params: Mapping, x: Array, arch: tuple[int, ...], path: str, normalize: Normalize
) -> Array:
    nodes = [x, *[jnp.zeros_like(x)] * 3]
    for (to, source), op in zip(EDGES, arch, strict=True):
        name = f"edge_{to}_from_{source}"
        out = _operation(params[name], nodes[source], OPS[op], f"{path}/{name}", normalize)
        nodes[to] = nodes[to] + out
    return nodes[3]


def _operation(params: Mapping, x: Array, op: str, path: str, normalize: Normalize) -> Array:
    if op == "none":
        return jnp.zeros_like(x)
    if op == "skip_connect":
        return x
    if op == "avg_pool_3x3":
        window = ((1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
        # Not a JAX array: the sum is differentiable under jit only if its start is a known zero.
        zero = np.zeros((), x.dtype)
        total = lax.reduce_window(x, zero, lax.add, *window)
        # In NumPy: XLA would take half a minute to fold a window sum of ones, for every pooling.
        rows, columns = (np.convolve(np.ones(k), np.ones(3))[1:-1] for k in x.shape[1:3])
        return total / np.outer(rows, columns).astype(x.dtype)[None, :, :, None]
    kernel = params["conv_1x1" if op == "nor_conv_1x1" else "conv_3x3"]
    return normalize(path, _conv(jax.nn.relu(x), kernel))


def _reduction(params: Mapping, x: Array, path: str, normalize: Normalize) -> Array:
    out = _conv(jax.nn.relu(x), params["conv_a"], stride=2)
    out = _scale(normalize(f"{path}/norm_a", out), params["norm_a"])
    out = _conv(jax.nn.relu(out), params["conv_b"])
    out = _scale(normalize(f"{path}/norm_b", out), params["norm_b"])
    pooled = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean(axis=(2, 4))
    return out + _conv(pooled, params["shortcut"])


def _conv(x: Array, params: Mapping, stride: int = 1) -> Array:
    pad = (params["kernel"].shape[0] - 1) // 2
    out = lax.conv_general_dilated(
        x,
        params["kernel"],
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return out + params["bias"].reshape(1, 1, 1, -1) if "bias" in params else out


def _scale(x: Array, params: Mapping) -> Array:
    return x * params["scale"].reshape(1, 1, 1, -1) + params["bias"].reshape(1, 1, 1, -1)
