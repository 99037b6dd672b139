"""Taps: operations that give their input back, and whose backward pass reads gradients off.

A tap stands behind an operation that joins data with weights (a :class:`Site`). It does not change
the result. The cotangents of its *places* are defined to be, for each root that the weights come
from,

* ``KERNEL``: the inner products of the root's gradients, for all examples of the batch;
* ``NORM``: their diagonal alone, the squared norm of each example's gradient;
* ``GRADIENT``: the root's gradient, for each example: they add up over the places where a root is
  used, as autodiff adds cotangents up;
* ``FACTORS``: the factors of the root's gradient at this site, for each example (:mod:`.joined`).

Under ``jax.vmap`` over examples the backward pass calls a function with a batching rule of its own
(``custom_vmap``), which is how it sees all examples at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxntk.kernels.traced.contraction import Route, arranged, gram_of, square_norms
from jaxntk.kernels.traced.operations import GRADIENT_RULES, Gradients, OneHot
from jaxntk.kernels.traced.weights import (
    Layout,
    Node,
    Root,
    Value,
    evaluator,
    pull_back_layout,
)
from jaxntk.networks.gram_block import gram_block


class Reading(Enum):
    """What is read off for a root."""

    KERNEL = "kernel"
    NORM = "norm"
    GRADIENT = "gradient"
    FACTORS = "factors"


@dataclass(frozen=True, eq=False)
class Place:
    """Where a root is read off.

    Args:
        reading: what is read.
        zeros: for a kernel (rows, columns), the same for all examples; for norms one number and
            for gradients the shape of the root, an own one for each example; for factors two
            arrays at each site, which the interpreter knows.
    """

    reading: Reading
    zeros: Any


@dataclass(frozen=True, eq=False)
class Options:
    """What all taps of a program share.

    Args:
        route: how gradients of a weight are contracted.
        dtype: of kernels and gradients.
        narrow: whether data of a wider dtype get their derivatives in this one, too.
        statistics: whether the program takes statistics of the batch.
    """

    route: Route | str
    dtype: jnp.dtype
    narrow: bool = False
    statistics: bool = False


@dataclass(frozen=True, eq=False)
class Site:
    """An operation that joins data with weights, as functions of flat lists of arrays.

    Args:
        eqn: the operation.
        bind: applies it to its operands.
        kinds: for each operand the number of its array among the data, or of its node.
        evaluate: from the values of the leaves to those of the nodes.
        roots: that the nodes depend on.
        positions: of the roots among the leaves.
        layout: of the only node, if there is only one, made of one root by moving entries.
        scales: numbers of ``layout.scales`` among the leaves.
    """

    eqn: Any
    bind: Any
    kinds: tuple[tuple[str, int], ...]
    evaluate: Any
    roots: tuple[Root, ...]
    positions: tuple[int, ...]
    layout: Layout | None
    scales: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]


def site_of(eqn: Any, bind: Any, inputs: Sequence[Value]) -> tuple[Site, list[Any], list[Any]]:
    """Returns the site that an operation is, its data, and the leaves of its weights."""
    nodes = [value for value in inputs if isinstance(value, Node)]
    data, kinds = [], []
    for value in inputs:
        if isinstance(value, Node):
            kinds.append(("node", sum(1 for kind, _ in kinds if kind == "node")))
        else:
            kinds.append(("data", len(data)))
            data.append(value.value)
    layout = nodes[0].layout if len(nodes) == 1 else None
    scales = layout.scales if layout is not None else ()
    leaves, evaluate = evaluator([*nodes, *scales])
    roots = tuple(dict.fromkeys(root for node in nodes for root in node.roots))
    # A root may be the leaf of several nodes that were made of it at different times.
    positions = {root: [] for root in roots}
    for at, leaf in enumerate(leaves):
        for root in leaf.roots:
            positions[root].append(at)
    serials = [leaf.serial for leaf in leaves]
    assert all(scale.serial in serials for scale in scales)
    site = Site(
        eqn,
        bind,
        tuple(kinds),
        evaluate,
        roots,
        tuple(positions[root][0] for root in roots),
        layout if _single(positions) else None,
        tuple(serials.index(scale.serial) for scale in scales),
        tuple(jnp.shape(root.value) for root in roots),
    )
    assert _single(positions)
    return site, data, [leaf.value for leaf in leaves]


def _single(positions: dict[Root, list[int]]) -> bool:
    return all(len(at) == 1 for at in positions.values())


def tap(
    site: Site,
    outs: list[Array],
    data: list[Any],
    leaves: list[Any],
    options: Options,
    places: Sequence[Place] | None = None,
    taken: Any = None,
) -> list[Array]:
    """Returns the results of a site unchanged, with places behind them, by default its roots'."""
    # What an example reads in a branch that it does not take is zero, whatever its data are there.
    places = [root.place for root in site.roots] if places is None else places
    real = [at for at, out in enumerate(outs) if jnp.issubdtype(out.dtype, jnp.inexact)]
    if not real:
        return outs
    readings = tuple(place.reading for place in places)
    read = _reader(site, readings, tuple(real), options)

    @jax.custom_vjp
    def behind(outs: list[Array], data: Any, leaves: Any, taken: Any, zeros: Any) -> list[Array]:
        return outs

    def forward(outs: list[Array], data: Any, leaves: Any, taken: Any, zeros: Any) -> Any:
        return outs, (data, leaves, taken, zeros)

    def backward(saved: Any, cts: list[Array]) -> Any:
        data, leaves, taken, zeros = saved
        return cts, None, None, None, read(data, leaves, cts, taken, zeros)

    behind.defvjp(forward, backward)
    zeros = [place.zeros for place in places]
    known = behind([outs[at] for at in real], data, leaves, taken, zeros)
    result = list(outs)
    for at, out in zip(real, known, strict=True):
        result[at] = out
    return result


def _reader(
    site: Site, readings: tuple[Reading, ...], real: tuple[int, ...], options: Options
) -> Callable[..., list[Any]]:
    """Returns ``(data, leaves, cotangents, whether taken, places) -> cotangents of the places``."""

    @jax.custom_batching.custom_vmap
    def read(data: Any, leaves: Any, cts: Any, taken: Any, zeros: Any) -> list[Any]:
        # Never run, as programs are always run under vmap; it tells the shapes.
        return jax.tree.map(jnp.zeros_like, zeros)

    @read.def_vmap
    def read_batch(
        size: int, batched: Any, data: Any, leaves: Any, cts: Any, taken: Any, zeros: Any
    ) -> Any:
        # JAX may give each example a copy of what is the same for all.
        leaves = [leaf[0] if b else leaf for leaf, b in zip(leaves, batched[1], strict=True)]
        full = [_full(a, b, size) for a, b in zip(data, batched[0], strict=True)]
        full_cts = [_full(a, b, size) for a, b in zip(cts, batched[2], strict=True)]
        batch = _Batch(site, size, full, leaves, full_cts, taken, real, options)
        result = [
            batch.factors if reading is Reading.FACTORS else batch.read(at, reading, place.shape)
            for at, (reading, place) in enumerate(zip(readings, zeros, strict=True))
        ]
        own = [
            jax.tree.map(lambda _, own=reading is not Reading.KERNEL: own, place)
            for reading, place in zip(readings, zeros, strict=True)
        ]
        return result, own

    return read


@dataclass(frozen=True, eq=False)
class _Batch:
    """What is known of a site on the way back, for all examples of a batch."""

    site: Site
    size: int
    data: list[Any]
    leaves: list[Any]
    cts: list[Array]
    taken: Any
    real: tuple[int, ...]
    options: Options

    def if_taken(self, array: Array) -> Array:
        """Returns an array of all examples, zero for those that take another branch."""
        if self.taken is None or not jnp.issubdtype(array.dtype, jnp.inexact):
            return array
        taken = self.taken.reshape(-1, *[1] * (array.ndim - 1))
        return jnp.where(taken, array, jnp.zeros_like(array))

    def read(self, at: int, reading: Reading, shape: Any) -> Array:
        """Reads off what belongs to a root, by its number."""
        found, dtype, route = self.found, self.options.dtype, self.options.route
        if found is not None and reading is Reading.KERNEL:
            return gram_of(found, self.size, shape, route, dtype) * self.scale
        if found is not None and reading is Reading.NORM:
            return square_norms(found, self.size, route, dtype) * self.scale
        mine = self.gradients[at].astype(dtype)
        if reading is Reading.KERNEL:
            return gram_block(mine.reshape(self.size, -1), shape)
        if reading is Reading.NORM:
            return jnp.square(mine.reshape(self.size, -1)).sum(axis=1)
        return mine

    @cached_property
    def found(self) -> Gradients | None:
        """The factor form, in the dtype of kernels."""
        dtype = self.options.dtype
        data = [self.if_taken(_narrow(each, dtype)) for each in self.data]
        return factored(self.site, data, [_narrow(each, dtype) for each in self.cts])

    @property
    def factors(self) -> tuple[Array, Array]:
        """The factors of the only root, as two arrays."""
        assert self.found is not None
        left, right, _ = self.found.factors()
        left = left.ids if isinstance(left, OneHot) else left
        return left[:, 0].astype(self.options.dtype), right[:, 0].astype(self.options.dtype)

    @cached_property
    def scale(self) -> Array:
        """What the kernel of a weight is multiplied with to be that of its root."""
        scale = jnp.ones((), self.options.dtype)
        for at in self.site.scales:
            scale = scale * jnp.square(jnp.asarray(self.leaves[at], scale.dtype))
        return scale

    @cached_property
    def gradients(self) -> list[Array]:
        """The gradient of every example with respect to each root, (n, *shape)."""
        return list(map(self.if_taken, self._gradients()))

    def _gradients(self) -> list[Array]:
        layout = self.site.layout
        if layout is None:
            return _pulled_back(self.site, self.data, self.leaves, self.cts, self.real)
        if self.found is not None:
            weight = arranged(self.found)
        else:
            weight = _weight_gradient(self.site, self.data, self.leaves, self.cts, self.real)
        scales = [self.leaves[at] for at in self.site.scales]
        (shape,) = self.site.shapes
        back = jax.vmap(lambda each: pull_back_layout(layout, shape, scales, each))
        return [back(weight.astype(self.options.dtype))]


def _full(array: Any, batched: bool, size: int) -> Any:
    return array if batched else jnp.broadcast_to(array, (size, *jnp.shape(array)))


def factored(site: Site, data: list[Any], cts: list[Array]) -> Gradients | None:
    """Returns the factor form of the gradients, if there is one for what the site is."""
    rule = GRADIENT_RULES.get(site.eqn.primitive.name)
    whole = site.layout is not None and site.layout.isometric
    if rule is None or not whole or len(data) != 1 or len(cts) != 1:
        return None
    which = next(at for at, (kind, _) in enumerate(site.kinds) if kind == "node")
    return rule(site.eqn, which, data[0], cts[0])


def _narrow(array: Array, dtype: jnp.dtype) -> Array:
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _apply(site: Site, data: Sequence[Any], nodes: Sequence[Any], real: tuple[int, ...]) -> Any:
    sources = {"data": data, "node": nodes}
    outs = site.bind([sources[kind][at] for kind, at in site.kinds])
    return [outs[at] for at in real]


def _weight_gradient(site: Site, data: Any, leaves: Any, cts: Any, real: Any) -> Array:
    """Returns gradients with respect to the site's only weight, as it is given to it."""
    weight = site.evaluate(leaves)[0]

    def each(data: Any, cts: Any) -> Array:
        _, pull_back = jax.vjp(lambda weight: _apply(site, data, [weight], real), weight)
        return pull_back(cts)[0]

    return jax.vmap(each)(data, cts)


def _pulled_back(site: Site, data: Any, leaves: Any, cts: Any, real: Any) -> list[Array]:
    """Returns gradients with respect to the roots, through all that was done to them before."""

    def each(data: Any, cts: Any) -> list[Array]:
        def outs(roots: list[Array]) -> Any:
            values = list(leaves)
            for at, root in zip(site.positions, roots, strict=True):
                values[at] = root
            return _apply(site, data, site.evaluate(values)[: _node_count(site)], real)

        _, pull_back = jax.vjp(outs, [leaves[at] for at in site.positions])
        return pull_back(cts)[0]

    return jax.vmap(each)(data, cts)


def _node_count(site: Site) -> int:
    return sum(kind == "node" for kind, _ in site.kinds)


def pushed(node: Node, options: Options | None) -> Any:
    """Returns the place of a value made of weights: zeros whose cotangent goes back to its roots.

    Args:
        node: the value.
        options: of the taps; None while the program is surveyed, which has no places.

    Returns:
        A place for gradients, for each example; None if the outputs depend on none of its roots.
    """
    read = [root for root in node.roots if root.place is not None]
    if options is None or not read:
        return None
    leaves, evaluate = evaluator([node])
    positions = [next(at for at, leaf in enumerate(leaves) if root in leaf.roots) for root in read]
    shape, dtype = jnp.shape(node.value), jnp.result_type(node.value)

    @jax.custom_vjp
    def zeros(leaves: Any, places: Any) -> Array:
        # Made of a place, so that each example has its own.
        return jnp.broadcast_to(places[0].reshape(-1)[0], shape)

    def forward(leaves: Any, places: Any) -> Any:
        return zeros(leaves, places), leaves

    def backward(leaves: Any, ct: Array) -> Any:
        def value(roots: list[Array]) -> Array:
            values = list(leaves)
            for at, root in zip(positions, roots, strict=True):
                values[at] = root
            return evaluate(values)[0]

        _, pull_back = jax.vjp(value, [leaves[at] for at in positions])
        grads = pull_back(ct.astype(dtype))[0]
        return None, [grad.astype(options.dtype) for grad in grads]

    zeros.defvjp(forward, backward)
    places = [root.place.zeros for root in read]
    return Place(Reading.GRADIENT, zeros([leaf.value for leaf in leaves], places))
