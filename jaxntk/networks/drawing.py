"""Draws the weights of a network leaf by leaf: the same values, compiled in a fraction of the time.

A program that draws a whole network holds the loops of a random generator once for every leaf, and
XLA spends up to a minute on it, most of it where the generator runs over several small axes. Here
every leaf is the beginning of a long row (:func:`draw_row`), so that leaves of many shapes share a
program, and these programs run one by one (:func:`leaf_by_leaf`).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

SHORTEST_ROW = 4**7
"""Numbers in the shortest row; the others are 4, 16, ... times as long."""

_SETTINGS = ("jax_enable_x64", "jax_threefry_partitionable", "jax_default_prng_impl")
"""What the values that are drawn depend on beside the key."""


def draw_row(
    draw: Callable[..., Array],
    key: Array,
    shape: Sequence[int],
    dtype: DTypeLike,
    *numbers: ArrayLike,
) -> Array:
    """Draws an array as the beginning of a row, by a program that other shapes share.

    Args:
        draw: ``(key, shape, dtype, *numbers) -> array``, each of its numbers from random bits of
            its own; it is compiled once for every such object.
        key: a JAX random key.
        shape: of the array.
        dtype: of the array.
        *numbers: what else ``draw`` takes, traced.

    Returns:
        What ``draw`` gives for this shape.
    """
    size = math.prod(shape)
    length = _row_length(key, size)
    with jax.disable_jit(False):
        row = _row(draw, key, length, jnp.dtype(dtype), *numbers)
    return row[:size].reshape(shape)


def leaf_by_leaf(init: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """Returns the same function, compiled in parts; ``jax.jit`` would compile it as a whole.

    Args:
        init: draws from a JAX random key with :func:`draw_row`, also inside ``nn.scan``; what it
            computes besides and does not return costs nothing but the time to trace it.

    Returns:
        The function; it can be traced, as ``init`` can.
    """
    plans: dict[tuple, Callable[[Array], Any]] = {}

    def draw(key: Array) -> Any:
        traced_with = (key.shape, key.dtype, *(getattr(jax.config, name) for name in _SETTINGS))
        if traced_with not in plans:
            plans[traced_with] = _plan(init, jax.ShapeDtypeStruct(key.shape, key.dtype))
        return plans[traced_with](key)

    return draw


@partial(jax.jit, static_argnums=(0, 2, 3))
def _row(
    draw: Callable[..., Array], key: Array, length: int, dtype: DTypeLike, *numbers: ArrayLike
) -> Array:
    return draw(key, (length,), dtype, *numbers)


def _row_length(key: Array, size: int) -> int:
    # Other generators make other numbers where they make more of them.
    config: Any = jax.config
    shares = str(jax.random.key_impl(key)) == "threefry2x32" and config.jax_threefry_partitionable
    length = SHORTEST_ROW
    while length < size:
        length *= 4
    return length if shares else size


def _plan(init: Callable[[Array], Any], key: jax.ShapeDtypeStruct) -> Callable[[Array], Any]:
    """Traces a function and takes what it returns apart: rows, and what is made of them."""
    with jax.disable_jit():  # A flat program: the steps of a scan one by one.
        traced, out = jax.make_jaxpr(init, return_shape=True)(key)
    inputs, outputs, tree = traced.jaxpr.invars, traced.jaxpr.outvars, jax.tree.structure(out)
    needed = _needed(traced.jaxpr.eqns, outputs)
    others = [eqn for eqn in needed if eqn.params.get("name") != "_row"]
    rows = [var for eqn in needed if eqn.params.get("name") == "_row" for var in eqn.outvars]
    # Equation by equation: equal ones, of rows and of the keys before them, are compiled once.
    draw_rows = jex.jaxpr_as_fun(_cut(traced, inputs, rows, needed))
    finish = jax.jit(jex.jaxpr_as_fun(_cut(traced, [*inputs, *rows], outputs, others)))
    return lambda key: jax.tree.unflatten(tree, finish(key, *draw_rows(key)))


def _cut(
    program: jex.ClosedJaxpr,
    inputs: Sequence[jex.Var],
    outputs: Sequence[Any],
    eqns: Sequence[jex.JaxprEqn],
) -> jex.ClosedJaxpr:
    """Returns the part of a program from some of its variables to others."""
    jaxpr = program.jaxpr.replace(
        invars=list(inputs),
        outvars=list(outputs),
        eqns=_needed(eqns, outputs),
        debug_info=program.jaxpr.debug_info.with_unknown_names(),
    )
    return jex.ClosedJaxpr(jaxpr, program.consts)


def _needed(eqns: Sequence[jex.JaxprEqn], outputs: Iterable[Any]) -> list[jex.JaxprEqn]:
    """Returns, in their order, the equations that outputs depend on."""
    wanted, kept = set(_variables(outputs)), []
    for eqn in reversed(eqns):
        if not wanted.isdisjoint(eqn.outvars):
            kept.append(eqn)
            wanted |= set(_variables(eqn.invars))
    return kept[::-1]


def _variables(atoms: Iterable[Any]) -> set[jex.Var]:
    return {atom for atom in atoms if isinstance(atom, jex.Var)}
