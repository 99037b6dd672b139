"""Gram rules for ordinary ``flax.linen`` layers, by interception.

Inside :func:`linen_rules` every call of a layer listed in ``READERS`` is followed by a
:func:`~jaxntk.networks.tap.tap` for each of its parameters that has a place (see
:mod:`jaxntk.networks.layers`). The layer computes its output in its own way, with whatever padding
mode, dtype or attention function it was given; only what the kernel needs is worked out here, from
the layer's input, its options and the cotangent of its output:

    Dense, DenseGeneral (and so MultiHeadAttention)  G_i = sum_t x_it ct_it^T
    Conv                                             the same for each offset of the kernel
    Embed                                            G_i[token] = sum over where it stands, of ct_it
    LayerNorm, RMSNorm, GroupNorm, BatchNorm         scale: sum_t (normalised x)_it ct_it
    every bias                                       sum_t ct_it

A layer whose options are outside what its rule knows gets no tap, and so no kernel: see
:mod:`jaxntk.kernels.coverage`, which finds that out before anything is computed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from jaxntk.errors import InputError
from jaxntk.networks.conv_grads import ConvWindow
from jaxntk.networks.gram_rules import (
    Gram,
    conv_gram,
    gram_block,
    outer_gram,
    split_block,
    sum_to_trailing,
)
from jaxntk.networks.layers import place, places_of
from jaxntk.networks.precision import matmul_precision
from jaxntk.networks.tap import TapRule, tap

Reading = tuple[str, TapRule, tuple[Array, ...]]
"""Name of a parameter, its rule, and what the rule needs beside the cotangent."""


def linen_rules(batch: int | None = None) -> AbstractContextManager[None]:
    """Returns the context in which ``flax.linen`` layers give the kernels of their parameters.

    Args:
        batch: examples of the batch, to leave out layers whose first axis is another one, as
            inside ``vmap``; None where that is known already.

    Returns:
        A context manager, to be entered around ``apply``.
    """
    return nn.intercept_methods(partial(_intercept, batch))


def _intercept(
    batch: int | None,
    call: Callable[..., Any],
    args: tuple,
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    module = context.module
    if context.method_name != "__call__":
        return call(*args, **kwargs)
    _refuse_coupling(module, args, kwargs)
    out = call(*args, **kwargs)
    read = READERS.get(type(module))
    if read is None or not places_of(module):
        return out
    if batch is not None and out.shape[:1] != (batch,):
        # No rule is right here, and this use of the places tells gram_coverage why.
        beside = [place(module, name) for name in places_of(module)]
        return lax.optimization_barrier((out, *beside))[0]
    for name, rule, saved in read(module, out, *args, **kwargs):
        gram = place(module, name)
        if gram is not None:
            out = tap(rule, out, saved, gram)
    return out


def _refuse_coupling(module: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Raises where a layer makes examples depend on each other or on chance."""
    where = f"the layer {'/'.join(module.path) or type(module).__name__}"
    if isinstance(module, nn.BatchNorm):
        given = args[1] if len(args) > 1 else kwargs.get("use_running_average")
        stored = module.use_running_average if given is None else given
        if not stored and not module.is_initializing():
            cure = (
                "normalise with stored statistics (use_running_average=True), or take the dear "
                "exact kernel with examples='coupled'"
            )
            raise InputError("apply_fn", f"{where} with batch statistics couples examples", cure)
    if isinstance(module, nn.Dropout) and module.rate > 0:
        given = args[1] if len(args) > 1 else kwargs.get("deterministic")
        if not (module.deterministic if given is None else given):
            cure = "switch it off (deterministic=True): a kernel belongs to one network"
            raise InputError("apply_fn", f"{where} drops out at random", cure)


def _dense(module: nn.Dense, out: Array, x: Array) -> Iterator[Reading]:
    yield "kernel", _outer, (_tokens(x, 1),)
    if module.use_bias:
        yield "bias", partial(_summed, (module.features,)), ()


def _dense_general(module: nn.DenseGeneral, out: Array, x: Array) -> Iterator[Reading]:
    axes = sorted(axis % x.ndim for axis in _tuple(module.axis))
    features = _tuple(module.features)
    # Contracted axes anywhere else than at the end, or batched weights, would need transposing.
    if module.batch_dims or axes != list(range(x.ndim - len(axes), x.ndim)):
        return
    yield "kernel", partial(_outer, features_ndim=len(features)), (_tokens(x, len(axes)),)
    if module.use_bias:
        yield "bias", partial(_summed, features), ()


def _conv(module: nn.Conv, out: Array, x: Array) -> Iterator[Reading]:
    size = _tuple(module.kernel_size)
    spatial = len(size)
    if x.ndim != spatial + 2 or module.mask is not None or _any_but_one(module.input_dilation):
        return
    stride = _each(module.strides, spatial)
    dilation = _each(module.kernel_dilation, spatial)
    padded, padding = _conv_padding(module.padding, x, size, stride, dilation)
    if padding is None:
        return
    window = ConvWindow(size, stride, padding, dilation, module.feature_group_count)
    yield "kernel", partial(_conv_rule, window), (padded,)
    if module.use_bias:
        yield "bias", partial(_summed, (module.features,)), ()


def _conv_padding(
    given: Any, x: Array, size: tuple, stride: tuple, dilation: tuple
) -> tuple[Array, tuple[tuple[int, int], ...] | None]:
    """Returns the input, padded where that is no padding with zeros, and the zeros around it."""
    spans = [step * (length - 1) + 1 for step, length in zip(dilation, size, strict=True)]
    lengths = x.shape[1:-1]
    none = tuple((0, 0) for _ in size)
    if not isinstance(given, str):
        sides = _each(given, len(size))
        pairs = [(side, side) if isinstance(side, int) else tuple(side) for side in sides]
        return x, tuple(pairs)
    match given.upper():
        case "VALID":
            return x, none
        case "SAME" | "SAME_LOWER" as mode:
            short = [
                max((-(-length // step) - 1) * step + span - length, 0)
                for length, step, span in zip(lengths, stride, spans, strict=True)
            ]
            halves = [(pad // 2, pad - pad // 2) for pad in short]
            return x, tuple(halves if mode == "SAME" else [(b, a) for a, b in halves])
        case "CAUSAL" if len(size) == 1:
            return x, ((spans[0] - 1, 0),)
        case "CIRCULAR" | "REFLECT" as mode:
            around = [((span - 1) // 2, span // 2) for span in spans]
            wrapped = jnp.pad(
                x,
                [(0, 0), *around, (0, 0)],
                mode="wrap" if mode == "CIRCULAR" else "reflect",
            )
            return wrapped, none
    return x, None


def _embed(module: nn.Embed, out: Array, ids: Integer[Array, "n *tokens"]) -> Iterator[Reading]:
    yield "embedding", partial(_embed_rule, module.num_embeddings), (ids.reshape(len(ids), -1),)


def _norm(
    module: nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | nn.BatchNorm,
    out: Array,
    x: Array,
    *args: Any,
    **kwargs: Any,
) -> Iterator[Reading]:
    axes = getattr(module, "feature_axes", getattr(module, "axis", -1))
    if _tuple(axes) not in {(-1,), (x.ndim - 1,)}:
        return
    trailing = (x.shape[-1],)
    if module.use_scale:
        bare = {"use_scale": False, "parent": None, "name": None}
        if not isinstance(module, nn.RMSNorm):
            bare["use_bias"] = False
        statistics = {key: value for key, value in module.variables.items() if key != "params"}
        normalised: Any = module.clone(**bare).apply(statistics, x, *args, **kwargs)
        yield "scale", partial(_scaled, trailing), (normalised,)
    if getattr(module, "use_bias", False):
        yield "bias", partial(_summed, trailing), ()


READERS: dict[type[nn.Module], Callable[..., Iterator[Reading]]] = {
    nn.Dense: _dense,
    nn.DenseGeneral: _dense_general,
    nn.Conv: _conv,
    nn.Embed: _embed,
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.GroupNorm: _norm,
    nn.BatchNorm: _norm,
}
"""The layers with a rule. A subclass may compute something else, so it is not among them."""


def _outer(
    saved: tuple[Array, ...],
    ct: Array,
    shape: tuple[int, ...],
    features_ndim: int = 1,
) -> Gram:
    return outer_gram(saved[0], _tokens(ct, features_ndim), shape)


def _summed(
    trailing: tuple[int, ...], saved: tuple[Array, ...], ct: Array, shape: tuple[int, ...]
) -> Gram:
    del saved
    return gram_block(sum_to_trailing(ct, trailing), shape)


def _scaled(
    trailing: tuple[int, ...], saved: tuple[Array, ...], ct: Array, shape: tuple[int, ...]
) -> Gram:
    return gram_block(sum_to_trailing(saved[0] * ct, trailing), shape)


def _conv_rule(
    window: ConvWindow, saved: tuple[Array, ...], ct: Array, shape: tuple[int, ...]
) -> Gram:
    return conv_gram(saved[0], ct, window, shape)


def _embed_rule(
    vocabulary: int, saved: tuple[Array, ...], ct: Array, shape: tuple[int, ...]
) -> Gram:
    # The vocabulary may be larger than what the type of the tokens holds. A negative number counts
    # from the end, as in the look-up itself.
    ids, tokens = saved[0].astype(jnp.int32) % vocabulary, _tokens(ct, 1)
    if ids.size > vocabulary:
        one_hot = ids[:, :, None] == jnp.arange(vocabulary, dtype=ids.dtype)[None, None, :]
        return outer_gram(one_hot.astype(ct.dtype), tokens, shape)
    ids_left, ids_right = split_block(ids, shape)
    left, right = split_block(tokens, shape)
    same = ids_left[:, None, :, None] == ids_right[None, :, None, :]
    dots = jnp.einsum("nto,mso->nmts", left, right, precision=matmul_precision())
    return jnp.sum(dots * same.astype(dots.dtype), axis=(2, 3))


def _tokens(x: Array, features_ndim: int) -> Float[Array, "n t f"]:
    """Folds the last axes into one, and all between them and the first into another."""
    features = math.prod(x.shape[x.ndim - features_ndim :])
    return x.reshape(len(x), -1, features)


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _each(value: Any, count: int) -> tuple:
    """Returns one value an axis from what Flax accepts: None (ones), one value or a sequence."""
    if value is None:
        return (1,) * count
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


def _any_but_one(value: Any) -> bool:
    return value is not None and any(step != 1 for step in _tuple(value))
