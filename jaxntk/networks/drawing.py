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
    row = _row(draw, key, _row_length(key, size), jnp.dtype(dtype), *numbers)
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
    traced, out = jax.make_jaxpr(init, return_shape=True)(key)
    flat = jax.make_jaxpr(partial(_unroll, traced))(key)
    inputs, outputs, tree = flat.jaxpr.invars, flat.jaxpr.outvars, jax.tree.structure(out)
    rows, others = [], []
    for eqn, made in _needed(flat.jaxpr.eqns, outputs):
        if eqn.params.get("name") == _row.__name__:
            rows += made
        else:
            others.append(eqn)
    # Equation by equation: equal ones, of rows and of the keys before them, are compiled once.
    draw_rows = jex.jaxpr_as_fun(_cut(flat, inputs, rows, flat.jaxpr.eqns))
    finish = jax.jit(jex.jaxpr_as_fun(_cut(flat, [*inputs, *rows], outputs, others)))
    return lambda key: jax.tree.unflatten(tree, finish(key, *draw_rows(key)))


def _unroll(program: jex.ClosedJaxpr, *args: Array | None) -> list[Array]:
    """Runs a program, and the steps of a scan one by one where they do not need each other."""
    jaxpr = program.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *args], strict=True))

    def value(atom: Any) -> Any:
        return known[atom] if isinstance(atom, jex.Var) else atom.val

    for eqn, made in _needed(jaxpr.eqns, jaxpr.outvars):
        if scan := _scan_of(eqn, made):
            values = scan.run([atom and value(atom) for atom in scan.inputs])
        else:
            inputs = list(_variables(eqn.invars))
            values = jex.jaxpr_as_fun(_cut(program, inputs, made, [eqn]))(*map(value, inputs))
        known.update(zip(made, values, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


class _Scan(NamedTuple):
    """A scan whose steps do not need each other.

    Args:
        length: number of steps.
        step: one of them, from all inputs to the outputs that are wanted.
        inputs: of the whole; None for those that the outputs do not depend on.
        stepped: for each input, whether it has an entry a step.
    """

    length: int
    step: jex.ClosedJaxpr
    inputs: list[Any]
    stepped: list[bool]

    def run(self, inputs: Sequence[Array | None]) -> list[Array]:
        """Returns what the steps make, put together."""
        columns = [
            _unstack(value) if stepped and value is not None else [value] * self.length
            for value, stepped in zip(inputs, self.stepped, strict=True)
        ]
        made = [_unroll(self.step, *args) for args in zip(*columns, strict=True)]
        return [jnp.stack(values) for values in zip(*made, strict=True)]


@jax.jit
def _unstack(stacked: Array) -> list[Array]:
    return list(stacked)


def _scan_of(eqn: jex.JaxprEqn, outputs: Sequence[jex.Var]) -> _Scan | None:
    """Returns what an equation does for some of its outputs, if it is such a scan."""
    if eqn.primitive.name != "scan":
        return None
    body = eqn.params["jaxpr"]
    inner_inputs, inner_outputs = body.jaxpr.invars, body.jaxpr.outvars
    # Inputs are constants, what is carried and what has an entry a step, outputs the latter two.
    stepped = _has_entry_a_step(eqn.invars, inner_inputs)
    whole = [var for var, yes in zip(inner_inputs, stepped, strict=True) if not yes]
    carried = _has_entry_a_step(eqn.outvars, inner_outputs).count(False)
    made = dict(zip(eqn.outvars[carried:], inner_outputs[carried:], strict=True))
    if not made.keys() >= set(outputs):
        return None
    step = _cut(body, inner_inputs, [made[var] for var in outputs], body.jaxpr.eqns)
    read = _read(step.jaxpr)
    if not read.isdisjoint(whole[len(whole) - carried :]):
        return None
    inputs = [
        atom if var in read else None for atom, var in zip(eqn.invars, inner_inputs, strict=True)
    ]
    return _Scan(eqn.params["length"], step, inputs, stepped)


def _has_entry_a_step(outer: Sequence[Any], inner: Sequence[Any]) -> list[bool]:
    return [len(a.aval.shape) > len(b.aval.shape) for a, b in zip(outer, inner, strict=True)]


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
        eqns=[eqn for eqn, _ in _needed(eqns, outputs)],
        debug_info=program.jaxpr.debug_info.with_unknown_names(),
    )
    return jex.ClosedJaxpr(jaxpr, program.consts)


def _needed(
    eqns: Sequence[jex.JaxprEqn], outputs: Iterable[Any]
) -> list[tuple[jex.JaxprEqn, list[jex.Var]]]:
    """Returns, in their order, the equations that outputs depend on, each with what is used."""
    wanted, kept = _variables(outputs), []
    for eqn in reversed(eqns):
        made = [var for var in eqn.outvars if var in wanted]
        if made:
            kept.append((eqn, made))
            scan = _scan_of(eqn, made)
            wanted |= _variables(scan.inputs if scan else eqn.invars)
    return kept[::-1]


def _read(jaxpr: jex.Jaxpr) -> set[jex.Var]:
    return _variables([atom for eqn in jaxpr.eqns for atom in eqn.invars] + jaxpr.outvars)


def _variables(atoms: Iterable[Any]) -> set[jex.Var]:
    return {atom for atom in atoms if isinstance(atom, jex.Var)}
