"""Many NAS-Bench-201 cells that share one initialisation, as one network: each operation runs once.

Cells that share their weights differ only in the operation that each edge picks. So a population is
a bigger batch for each operation: on every edge the cells are *routed* to the operation they chose,
the operation runs once on all it got, and the results go back,

    node[a, target] = sum over edges (target <- source) of  op_{arch[a, e]}(node[a, source]).

A convolution over the images of m cells is one convolution over ``m * n`` images, because its
weights are the same for all of them. ``none`` costs nothing and ``skip_connect`` is a copy. Up to
the first cell the network does not depend on the architecture, so that part runs once for all.

Each cell has its own kernel. One place of shape ``(cells, n, n)`` threaded through all layers is
enough to read the sum over layers off (:mod:`jaxntk.networks.routed_rules`): cotangents add up.

Each operation has a fixed number of slots on each edge, so shapes do not depend on who chose what
(:class:`Routes`). In a population of whole orbits ``{a, a + 1, .., a + 4 mod 5}`` every operation
is chosen equally often on every edge, and no slot stays empty.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxntk.errors import InputError
from jaxntk.networks import routed_rules
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.layers import (
    Normalizer,
    avg_pool_2x2,
    avg_pool_3x3,
    normalize,
    relu,
)
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.spaces.nasbench201 import EDGES, OPS

Path = tuple[str, ...]
Enters = Callable[[Path], bool]
Slots = tuple[int, int, int]

ROUTED_OPS = tuple(OPS.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
"""The operations that have slots; the others are a copy and nothing at all."""


class Routes(NamedTuple):
    """Where each cell goes on each of the six edges; arrays only, one entry of a tuple an edge.

    Slots are numbered through all of ``ROUTED_OPS``, those of the first operation first.

    Args:
        to_slot: which cell is in a slot; the number of cells where the slot is empty.
        to_cell: which slot a cell is in; the number of slots where it chose none of them.
        skip: which cells chose ``skip_connect``.
    """

    to_slot: tuple[Int[Array, " slots"], ...]
    to_cell: tuple[Int[Array, " cells"], ...]
    skip: tuple[Bool[Array, " cells"], ...]


class _Parameter(NamedTuple):
    """A parameter's value and the place for its kernel (None: it does not enter the kernel)."""

    value: Array
    gram: Array | None


class _Scope(NamedTuple):
    """Parameters, stored statistics and the rule on paths, at one path of the network."""

    params: Mapping[str, Any]
    statistics: Mapping[str, Any]
    enters: Enters
    path: Path = ()

    def __getitem__(self, name: str) -> "_Scope":
        return self._replace(
            params=self.params[name],
            statistics=self.statistics.get(name, {}),
            path=(*self.path, name),
        )

    def parameter(self, name: str, place: Array) -> _Parameter:
        return _Parameter(self.params[name], place if self.enters((*self.path, name)) else None)

    def conv(self, place: Array) -> tuple[_Parameter, _Parameter | None]:
        bias = self.parameter("bias", place) if "bias" in self.params else None
        return self.parameter("kernel", place), bias

    def stored(self, dtype: jnp.dtype) -> tuple[Array, Array] | None:
        if not self.statistics:
            return None
        return self.statistics["mean"].astype(dtype), self.statistics["var"].astype(dtype)


def routed_logits(
    network: NasBench201,
    variables: Mapping[str, Any],
    x: Float[Array, "n h w c"],
    routes: Routes,
    slots: tuple[Slots, ...],
    places: Float[Array, "cells n n"],
    enters: Enters,
) -> Float[Array, "cells n classes"]:
    """Applies the networks of a population of cells that share their weights.

    Differentiable in ``places`` alone; the weights are constants. The cotangent of ``places[a]`` is
    the kernel of cell a, summed over the parameters that enter.

    Args:
        network: the network; its batch normalisation is ``frozen`` (statistics of the batch, for
            each cell its own) or ``stored`` (those in ``batch_stats``, shared by all cells).
        variables: its collections ``params`` and ``batch_stats``.
        x: standardised images, the same for all cells.
        routes: which operation each cell chose on each edge.
        slots: how many slots each of ``ROUTED_OPS`` has on each edge; static.
        places: zeros.
        enters: which parameters enter the kernel, by their path in ``params``.

    Returns:
        The logits of every cell.

    Raises:
        InputError: batch normalisation in another mode.
    """
    if network.batch_norm not in (BatchNormMode.FROZEN, BatchNormMode.STORED):
        cure = "choose frozen or stored: with the others the images of a batch interact"
        raise InputError("batch_norm", network.batch_norm.value, cure)
    normalizer = network.batch_norm.tracked
    params, statistics = lax.stop_gradient((variables["params"], variables["batch_stats"]))
    scope = _Scope(params, statistics, enters)
    stem = partial(_stem, normalizer=normalizer, enters=enters)
    out: Any = _once_for_all(stem, (x, scope.params, scope.statistics), places)
    for stage in (1, 2, 3):
        if stage > 1:
            reduction = partial(_reduction, scope[f"reduction_{stage - 1}"], normalizer=normalizer)
            out = jax.vmap(reduction)(out, places)
        out = _stage(scope[f"stage_{stage}"], out, routes, slots, places, normalizer)
    return jax.vmap(partial(_head, scope, normalizer=normalizer))(out, places)


def _stage(
    scope: _Scope,
    x: Float[Array, "cells n h w c"],
    routes: Routes,
    slots: tuple[Slots, ...],
    places: Float[Array, "cells n n"],
    normalizer: Normalizer,
) -> Float[Array, "cells n h w c"]:
    """Applies the cells of a stage, one after another."""

    def cell(x: Array, stacked: tuple[Mapping, Mapping]) -> tuple[Array, None]:
        inner = scope._replace(params=stacked[0], statistics=stacked[1])
        nodes = [x]
        for target in (1, 2, 3):
            incoming = [
                _edge(
                    inner[f"edge_{to}_from_{source}"],
                    nodes[source],
                    Routes(*(each[index : index + 1] for each in routes)),
                    slots[index],
                    places,
                    normalizer,
                )
                for index, (to, source) in enumerate(EDGES)
                if to == target
            ]
            nodes.append(sum(incoming[1:], start=incoming[0]))
        return nodes[-1], None

    return lax.scan(cell, x, (scope.params, scope.statistics))[0]


def _edge(
    scope: _Scope,
    x: Float[Array, "cells n h w c"],
    routes: Routes,
    slots: Slots,
    places: Float[Array, "cells n n"],
    normalizer: Normalizer,
) -> Float[Array, "cells n h w c"]:
    """Sends each cell to its operation, runs every operation once, and sends the results back."""
    (to_slot,), (to_cell,), (skip,) = routes
    copied = jnp.where(skip.reshape(-1, 1, 1, 1, 1), x, jnp.zeros_like(x))
    if not sum(slots):
        return copied

    def relu_conv_norm(name: str, x: Array, place: Array) -> Array:
        out = _apply_conv(relu(x), scope[name].conv(place))
        return normalize(out, normalizer, scope.stored(out.dtype))[0]

    operations = (
        partial(relu_conv_norm, "conv_1x1"),
        partial(relu_conv_norm, "conv_3x3"),
        lambda x, place: avg_pool_3x3(x),
    )
    sent = _permute(x, to_slot, to_cell)
    sent_places = _permute(places, to_slot, to_cell)
    results, start = [], 0
    for operation, count in zip(operations, slots, strict=True):
        if count:
            part = slice(start, start + count)
            results.append(jax.vmap(operation)(sent[part], sent_places[part]))
        start += count
    return copied + _permute(jnp.concatenate(results), to_cell, to_slot)


@jax.custom_vjp
def _permute(
    x: Float[Array, "rows *shape"], index: Int[Array, " taken"], back: Int[Array, " rows"]
) -> Float[Array, "taken *shape"]:
    """Returns ``x[index]``, zero where the index is ``len(x)``; ``back`` is the inverse of index.

    Its transpose, ordinarily an addition row by row into zeros, is the same thing with ``index``
    and ``back`` exchanged.
    """
    del back
    return x.at[index].get(mode="fill", fill_value=0)


def _permute_fwd(x: Array, index: Array, back: Array) -> tuple[Array, tuple[Array, Array]]:
    return _permute(x, index, back), (index, back)


def _permute_bwd(saved: tuple[Array, Array], ct: Array) -> tuple[Array, None, None]:
    index, back = saved
    return _permute(ct, back, index), None, None


_permute.defvjp(_permute_fwd, _permute_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _once_for_all(
    fn: Callable[[Any, Array], Array], inputs: Any, places: Float[Array, "cells n n"]
) -> Float[Array, "cells n h w c"]:
    """Returns ``fn(inputs, place)`` for every place, which is the same: it is computed once.

    Plain ``vmap`` would add the cotangents of all cells before they reach ``fn``, but each cell's
    kernel is quadratic in its own.
    """
    out = fn(inputs, places[0])
    return jnp.broadcast_to(out, (len(places), *out.shape))


def _once_for_all_fwd(
    fn: Callable[[Any, Array], Array], inputs: Any, places: Array
) -> tuple[Array, tuple[Any, Array]]:
    return _once_for_all(fn, inputs, places), (inputs, places)


def _once_for_all_bwd(
    fn: Callable[[Any, Array], Array], saved: tuple[Any, Array], ct: Array
) -> tuple[None, Array]:
    inputs, places = saved
    pull_back = jax.vjp(lambda place: fn(inputs, place), places[0])[1]
    return None, jax.vmap(pull_back)(ct)[0]


_once_for_all.defvjp(_once_for_all_fwd, _once_for_all_bwd)


def _stem(
    inputs: tuple[Array, Mapping, Mapping], place: Array, *, normalizer: Normalizer, enters: Enters
) -> Float[Array, "n h w c"]:
    x, params, statistics = inputs
    scope = _Scope(params, statistics, enters)
    out = _apply_conv(x, scope["stem"].conv(place))
    return _batch_norm(scope["stem_norm"], out, place, normalizer)


def _reduction(
    scope: _Scope, x: Float[Array, "n h w c"], place: Array, *, normalizer: Normalizer
) -> Float[Array, "n h2 w2 c2"]:
    out = x
    for letter, stride in (("a", 2), ("b", 1)):
        out = _apply_conv(relu(out), scope[f"conv_{letter}"].conv(place), stride=stride)
        out = _batch_norm(scope[f"norm_{letter}"], out, place, normalizer)
    return out + _apply_conv(avg_pool_2x2(x), scope["shortcut"].conv(place))


def _head(
    scope: _Scope, x: Float[Array, "n h w c"], place: Array, *, normalizer: Normalizer
) -> Float[Array, "n classes"]:
    x = relu(_batch_norm(scope["norm"], x, place, normalizer))
    tokens = jnp.mean(x, axis=(1, 2))[:, None, :]
    kernel, bias = scope["classifier"].conv(place)
    assert bias is not None
    out = routed_rules.dense(tokens, kernel.value, kernel.gram)[:, 0, :]
    return routed_rules.add_bias(out, bias.value, bias.gram)


def _apply_conv(
    x: Float[Array, "n h w i"],
    parameters: tuple[_Parameter, _Parameter | None],
    *,
    stride: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolves as :func:`jaxntk.networks.layers.apply_conv` does, and reads the kernel off."""
    kernel, bias = parameters
    size = kernel.value.shape[0]
    if size == 1 and stride == 1:
        n, h, w, channels = x.shape
        tokens = x.reshape(n, h * w, channels)
        out = routed_rules.dense(tokens, kernel.value[0, 0], kernel.gram).reshape(n, h, w, -1)
    else:
        out = routed_rules.conv(x, kernel.value, kernel.gram, stride, (size - 1) // 2)
    return out if bias is None else routed_rules.add_bias(out, bias.value, bias.gram)


def _batch_norm(
    scope: _Scope, x: Float[Array, "n h w c"], place: Array, normalizer: Normalizer
) -> Float[Array, "n h w c"]:
    out = normalize(x, normalizer, scope.stored(x.dtype))[0]
    scale, bias = scope.parameter("scale", place), scope.parameter("bias", place)
    out = routed_rules.multiply_scale(out, scale.value, scale.gram)
    return routed_rules.add_bias(out, bias.value, bias.gram)
