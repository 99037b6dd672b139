"""Draws the weights of a network leaf by leaf: the same values, compiled in a fraction of the time.

A program that draws a whole network holds the loops of a random generator once for every leaf, and
XLA spends up to a minute on it, most of it where the generator runs over several small axes. Here
every leaf is the beginning of a long row (:func:`draw_row`), so that leaves of many shapes share a
program, and what leads to them runs step by step instead of as a whole (:func:`leaf_by_leaf`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

SHORTEST_ROW = 4**7
"""Numbers in the shortest row; the others are 4, 16, ... times as long."""

_SETTINGS = ("jax_enable_x64", "jax_threefry_partitionable", "jax_default_prng_impl")
"""What the values that are drawn depend on beside the key."""

_config: Any = jax.config  # Its settings are attributes that pyright does not see.


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
        *numbers: what else ``draw`` takes, traced, in the dtype of the array.

    Returns:
        What ``draw`` gives for this shape.
    """
    length = _row_length(key, math.prod(shape))
    dtype = jnp.dtype(dtype)
    given = [np.asarray(number, dtype) for number in numbers]
    return _beginning(_row(draw, key, length, dtype, *given), tuple(shape))


def leaf_by_leaf(init: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """Returns the same function, run step by step; ``jax.jit`` would compile it as a whole.

    Args:
        init: draws from a JAX random key with :func:`draw_row`, also inside ``nn.scan``; what it
            computes besides and does not return costs nothing but the time to trace it.

    Returns:
        The function; it can be traced and mapped, as ``init`` can.
    """
    programs: dict[tuple, Callable[[Array], Any]] = {}

    def draw(key: Array) -> Any:
        traced_with = (key.shape, key.dtype, *(getattr(_config, name) for name in _SETTINGS))
        if traced_with not in programs:
            programs[traced_with] = _steps(init, jax.ShapeDtypeStruct(key.shape, key.dtype))
        return programs[traced_with](key)

    return draw


@partial(jax.jit, static_argnums=(0, 2, 3))
def _row(
    draw: Callable[..., Array], key: Array, length: int, dtype: DTypeLike, *numbers: Array
) -> Array:
    return draw(key, (length,), dtype, *numbers)


@partial(jax.jit, static_argnums=1)
def _beginning(row: Array, shape: tuple[int, ...]) -> Array:
    return row[: math.prod(shape)].reshape(shape)


def _row_length(key: Array, size: int) -> int:
    # Other generators make other numbers where they make more of them.
    if str(jax.random.key_impl(key)) != "threefry2x32" or not _config.jax_threefry_partitionable:
        return size
    length = SHORTEST_ROW
    while length < size:
        length *= 4
    return length


def _steps(init: Callable[[Array], Any], key: jax.ShapeDtypeStruct) -> Callable[[Array], Any]:
    """Traces a function, and returns the steps that its values depend on."""
    traced, out = jax.make_jaxpr(init, return_shape=True)(key)
    # The key stays an input, even of a network without a weight that is drawn.
    used, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars), instantiate=True)
    flat = jax.make_jaxpr(partial(_unrolled, jex.ClosedJaxpr(used, traced.consts)))(key)
    # It runs equation by equation, of which JAX compiles equal ones once.
    run, tree = jex.jaxpr_as_fun(flat), jax.tree.structure(out)
    return lambda key: jax.tree.unflatten(tree, run(key))


def _unrolled(program: jex.ClosedJaxpr, *args: Array) -> list[Array]:
    """Runs a program, the steps of a scan one by one."""
    jaxpr = program.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *args], strict=True))

    def value(atom: Any) -> Any:
        return known[atom] if isinstance(atom, jex.Var) else atom.val

    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            made, values = eqn.outvars, _unrolled_scan(eqn, [value(atom) for atom in eqn.invars])
        else:
            inputs = list({atom for atom in eqn.invars if isinstance(atom, jex.Var)})
            made = [var for var in eqn.outvars if not isinstance(var, jex.DropVar)]
            one = jaxpr.replace(
                invars=inputs,
                outvars=made,
                eqns=[eqn],
                debug_info=jaxpr.debug_info.with_unknown_names(),
            )
            run = jex.jaxpr_as_fun(jex.ClosedJaxpr(one, program.consts))
            values = run(*(known[var] for var in inputs))
        known.update(zip(made, values, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _unrolled_scan(eqn: jex.JaxprEqn, inputs: Sequence[Array]) -> list[Array]:
    # Inputs are constants, what is carried and what has an entry a step; outputs the latter two.
    body, steps = eqn.params["jaxpr"], range(eqn.params["length"])
    num_whole = _num_whole(eqn.invars, body.jaxpr.invars)
    num_carried = _num_whole(eqn.outvars, body.jaxpr.outvars)
    first = num_whole - num_carried
    constants, carried = inputs[:first], inputs[first:num_whole]
    entries = [_entries(stacked) for stacked in inputs[num_whole:]]
    made = [[] for _ in steps]
    for step in reversed(steps) if eqn.params["reverse"] else steps:
        outputs = _unrolled(body, *constants, *carried, *(entry[step] for entry in entries))
        carried, made[step] = outputs[:num_carried], outputs[num_carried:]
    return [*carried, *(_stacked(*values) for values in zip(*made, strict=True))]


def _num_whole(outer: Sequence[Any], inner: Sequence[Any]) -> int:
    shapes = zip(outer, inner, strict=True)
    return sum(len(whole.aval.shape) == len(part.aval.shape) for whole, part in shapes)


@jax.jit
def _entries(stacked: Array) -> list[Array]:
    return list(stacked)


@jax.jit
def _stacked(*entries: Array) -> Array:
    return jnp.stack(entries)
