"""A cell of NAS-Bench-201 whose six operations are an input, and its backward pass.

A cell has four nodes. The first is its input, the last its output, and each of the six edges adds
to its target what the operation that ``arch`` names makes of its source:

    0 none    1 skip_connect    2 nor_conv_1x1    3 nor_conv_3x3    4 avg_pool_3x3

on the edges (1<-0) (2<-0) (2<-1) (3<-0) (3<-1) (3<-2).

The backward pass is written out, for speed: JAX's own would let every edge return an array of its
own, zeros for ``none`` and a copy for ``skip_connect``, and sum them afterwards; here each branch
of the switch adds to what came before. Only nodes are kept for it, and where statistics of the
batch are held constant (``FROZEN``) these: they are all that the derivative of a normalisation
needs, which spares the backward pass the convolution. ``BATCH`` computes the convolution again.

Stored statistics are constants: no derivative with respect to them is taken.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.networks.forward_mode import always_in, in_forward_mode
from jaxntk.networks.initializers import initialization
from jaxntk.networks.layers import (
    Convolution,
    ConvParameters,
    Normalizer,
    apply_conv,
    avg_pool_3x3,
    normalize,
    relu,
)
from jaxntk.networks.own_rules import mark
from jaxntk.spaces.nasbench201 import EDGES

Moments = tuple[Float[Array, " c"], Float[Array, " c"]]
"""Mean and variance of each channel."""

Convolutions = dict[int, Convolution]
"""The convolutions of an edge by their size, 1 and 3."""


class EdgeParameters(NamedTuple):
    """What the operations of one edge need: all of them, as ``op`` may name any.

    Args:
        convolutions: kernel and bias of both convolutions.
        stored: mean and variance of the normalisation, for ``Normalizer.STORED``.
    """

    convolutions: Convolutions
    stored: Moments


class Edge(nn.Module):
    """Declares the parameters of all operations of one edge, and holds its statistics."""

    initializer: str

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> EdgeParameters:
        """Returns the parameters for an input like ``x``."""
        channels = x.shape[-1]
        draw = initialization(self.initializer)
        convolutions = {
            size: ConvParameters(
                channels,
                size,
                draw.kernel,
                draw.bias(size**2 * channels),
                name=f"conv_{size}x{size}",
            )(x)
            for size in (1, 3)
        }
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), x.dtype)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), x.dtype)
        return EdgeParameters(convolutions, (mean.value.astype(x.dtype), var.value.astype(x.dtype)))

    def store(self, used: Moments) -> None:
        """Writes the statistics used to ``batch_stats`` when that collection is mutable."""
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean, var = used
            self.put_variable("batch_stats", "mean", mean)
            self.put_variable("batch_stats", "var", var)


class Cell(nn.Module):
    """A cell: node j is the sum of its incoming edges; the output is the last node."""

    normalizer: Normalizer
    initializer: str
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
    ) -> tuple[Float[Array, "n h w c"], None]:
        """Applies the cell; the second value is the empty output ``nn.scan`` asks for."""
        edges = [Edge(self.initializer, name=f"edge_{to}_from_{source}") for to, source in EDGES]
        parameters = tuple(edge(x) for edge in edges)
        out, used = apply_cell(x, arch, parameters, self.normalizer, self.axis_name)
        for edge, moments in zip(edges, used, strict=True):
            edge.store(moments)
        return out, None


def without_dead_ends(arch: Int[Array, "6"]) -> Int[Array, "6"]:
    """Names ``none`` on every edge from which no path leads to the output.

    Edges that no path leads to from the input stay: with frozen statistics their biases have a
    gradient.

    Args:
        arch: six operations, 0..4.

    Returns:
        Operations that give the same network.

    Example:
        >>> without_dead_ends(jnp.array([3, 3, 0, 1, 0, 0]))
        Array([0, 0, 0, 1, 0, 0], dtype=int32)
    """
    reaches = [jnp.bool_(node == 3) for node in range(4)]
    kept = list(arch)
    for index, (to, source) in reversed(list(enumerate(EDGES))):
        kept[index] = jnp.where(reaches[to], arch[index], 0)
        reaches[source] |= kept[index] != 0
    return jnp.stack(kept)


def apply_cell(
    x: Float[Array, "n h w c"],
    arch: Int[Array, "6"],
    edges: tuple[EdgeParameters, ...],
    normalizer: Normalizer,
    axis_name: str | None = None,
) -> tuple[Float[Array, "n h w c"], tuple[Moments, ...]]:
    """Applies a cell; its derivative in reverse mode is the one described above.

    Args:
        x: its input.
        arch: six operations, 0..4, traced; under ``scan`` and ``map`` only their branches run.
        edges: the parameters of each edge.
        normalizer: where mean and variance come from.
        axis_name: of the rest of the batch; see :func:`~jaxntk.networks.layers.normalize`.

    Returns:
        The output, and for each edge the mean and variance used (the stored ones where nothing was
        normalised). Nothing is pulled back from these.
    """
    return _cell_function(normalizer, in_forward_mode(), axis_name)(x, arch, edges)


def add_operation(
    op: Int[Array, ""],
    total: Float[Array, "n h w c"],
    x: Float[Array, "n h w c"],
    edge: EdgeParameters,
    normalizer: Normalizer,
    axis_name: str | None = None,
) -> tuple[Float[Array, "n h w c"], Moments]:
    """Adds what one of the five operations makes of a node.

    Args:
        op: number of the operation, 0..4, traced.
        total: what is added to.
        x: the node.
        edge: the parameters of the edge.
        normalizer: where mean and variance come from.
        axis_name: of the rest of the batch.

    Returns:
        The sum, and the mean and variance used.
    """

    def convolved(size: int) -> tuple[Array, Moments]:
        out, used = _relu_conv_norm(x, edge.convolutions[size], normalizer, edge.stored, axis_name)
        return total + out, used

    branches = (
        lambda: (total, edge.stored),
        lambda: (total + x, edge.stored),
        lambda: convolved(1),
        lambda: convolved(3),
        lambda: (total + avg_pool_3x3(x), edge.stored),
    )
    return lax.switch(op, branches)


def pull_back_operation(
    op: Int[Array, ""],
    total: Float[Array, "n h w c"],
    x: Float[Array, "n h w c"],
    ct: Float[Array, "n h w c"],
    edge: EdgeParameters,
    normalizer: Normalizer,
) -> tuple[Float[Array, "n h w c"], Convolutions]:
    """Adds the cotangent of a node that one of its edges pulls back.

    Args:
        op: number of the operation, 0..4, traced.
        total: what is added to.
        x: the node.
        ct: the cotangent of the edge's target.
        edge: the parameters of the edge.
        normalizer: where mean and variance come from.

    Returns:
        The sum, and the cotangents of the convolutions.
    """
    nothing = jax.tree.map(jnp.zeros_like, edge.convolutions)

    def convolved(size: int) -> tuple[Array, Convolutions]:
        def out(x: Array, convolution: Convolution) -> Array:
            return _relu_conv_norm(x, convolution, normalizer, edge.stored)[0]

        more, grads = jax.vjp(out, x, edge.convolutions[size])[1](ct)
        return total + more, {**nothing, size: grads}

    branches = (
        lambda: (total, nothing),
        lambda: (total + ct, nothing),
        lambda: convolved(1),
        lambda: convolved(3),
        lambda: (total + jax.vjp(avg_pool_3x3, x)[1](ct)[0], nothing),
    )
    return lax.switch(op, branches)


def _relu_conv_norm(
    x: Array,
    convolution: Convolution,
    normalizer: Normalizer,
    stored: Moments,
    axis_name: str | None = None,
) -> tuple[Array, Moments]:
    return normalize(apply_conv(relu(x), convolution), normalizer, stored, axis_name)


@cache
def _cell_function(
    normalizer: Normalizer, forward: bool, axis_name: str | None
) -> Callable[..., Any]:
    """Returns ``(x, arch, edges) -> (output, moments)`` with its derivative.

    In forward mode it is another function, so that neither mode meets traces of the other.
    """
    # Edges of one shape share the trace of one function.
    add = _jitted(add_operation, forward, normalizer=normalizer, axis_name=axis_name)
    if forward:
        # Where JAX goes back through it, the switch would save what every branch needs.
        return partial(_run_cell, add=jax.checkpoint(add))
    frozen = normalizer is Normalizer.FROZEN
    # The statistics that were used, held constant, give the same derivative.
    again = Normalizer.STORED if frozen else normalizer
    add_again = jax.checkpoint(_jitted(add_operation, forward, normalizer=again), prevent_cse=False)
    body = partial(_add_frozen, add, add_again) if frozen else add_again
    pull_back = _jitted(pull_back_operation, forward, normalizer=again)
    rule = jax.custom_vjp(partial(_run_cell, add=body))

    def forward_pass(
        x: Array, arch: Array, edges: tuple[EdgeParameters, ...]
    ) -> tuple[tuple[Array, tuple[Moments, ...]], tuple[Any, ...]]:
        nodes, used = _run_forward(x, arch, edges, add)
        kept = edges
        if frozen:
            kept = tuple(
                edge._replace(stored=moments) for edge, moments in zip(edges, used, strict=True)
            )
        return (nodes[-1], used), (nodes[:-1], arch, kept)

    rule.defvjp(forward_pass, partial(_run_backward, pull_back))
    return rule


def _jitted(operation: Callable[..., Any], forward: bool, **options: Any) -> Callable[..., Any]:
    return jax.jit(always_in(forward, partial(operation, **options)))


def _add_frozen(
    add: Callable[..., Any],
    add_again: Callable[..., Any],
    op: Int[Array, ""],
    total: Float[Array, "n h w c"],
    x: Float[Array, "n h w c"],
    edge: EdgeParameters,
) -> tuple[Float[Array, "n h w c"], Moments]:
    """Adds what an operation makes of a node; its derivative needs no convolution."""
    # It is that with the statistics that were used as constants.
    out, used = add(op, *lax.stop_gradient((total, x, edge)))
    return _known(add_again(op, total, x, edge._replace(stored=used))[0], out), used


@jax.custom_vjp
def _known(value: Array, result: Array) -> Array:
    """Returns what a value is known to be; it has the derivative of the value."""
    return result


_known.defvjp(lambda value, result: (result, None), lambda _, ct: (ct, jnp.zeros_like(ct)))


def _run_cell(
    x: Array, arch: Array, edges: tuple[EdgeParameters, ...], add: Callable[..., Any]
) -> tuple[Array, tuple[Moments, ...]]:
    nodes, used = _run_forward(x, arch, edges, add)
    return mark(nodes[-1]), used


def _run_forward(
    x: Array, arch: Array, edges: tuple[EdgeParameters, ...], add: Callable[..., Any]
) -> tuple[list[Array], tuple[Moments, ...]]:
    nodes, used = [x] + [jnp.zeros_like(x)] * 3, []
    for op, (to, source), edge in zip(arch, EDGES, edges, strict=True):
        nodes[to], moments = add(op, nodes[to], nodes[source], edge)
        used.append(moments)
    return nodes, tuple(used)


def _run_backward(
    pull_back: Callable[..., Any], saved: tuple[Any, ...], cts: tuple[Array, Any]
) -> tuple[Array, None, tuple[EdgeParameters, ...]]:
    nodes, arch, edges = saved
    ct_nodes = [*[jnp.zeros_like(cts[0])] * 3, cts[0]]
    ct_edges = []
    for index, (to, source) in reversed(list(enumerate(EDGES))):
        ct_nodes[source], convolutions = pull_back(
            arch[index], ct_nodes[source], nodes[source], ct_nodes[to], edges[index]
        )
        stored = jax.tree.map(jnp.zeros_like, edges[index].stored)
        ct_edges.append(EdgeParameters(convolutions, stored))
    return ct_nodes[0], None, tuple(reversed(ct_edges))
