"""Draws the weights of a network leaf by leaf: the same values, compiled in a fraction of the time.

A program that draws a whole network holds the loops of a random generator once for every leaf, and
XLA spends a minute on it, most of it where the generator runs over an array of several small axes.
Here every leaf is the beginning of a long row (:func:`draw_row`), so that leaves of many shapes
share a program, and these programs run one by one (:func:`leaf_by_leaf`).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
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
    # leaf_by_leaf traces everything else without jit.
    with jax.disable_jit(False):
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
    # Only of this generator do fewer numbers begin like more.
    known = str(jax.random.key_impl(key)) == "threefry2x32"
    partitionable: bool = getattr(jax.config, "jax_threefry_partitionable")
    if not (known and partitionable):
        return size
    length = SHORTEST_ROW
    while length < size:
        length *= 4
    return length


class _Kind(IntEnum):
    """How equations are compiled.

    ``ALONE``: each by itself, equal ones once; what draws, and what makes keys. ``STACKED``: what
    puts the steps of a scan together, all at once; XLA is fast as long as it does not see how the
    steps are made. ``TOGETHER``: the others, all at once.
    """

    TOGETHER = 0
    ALONE = 1
    STACKED = 2


class _Part(NamedTuple):
    """A part of a function, from some of its variables to others."""

    run: Callable[..., list[Array]]
    inputs: list[jex.Var]
    outputs: list[jex.Var]


def _plan(init: Callable[[Array], Any], key: jax.ShapeDtypeStruct) -> Callable[[Array], Any]:
    """Traces a function and takes what it returns apart."""
    # Without jit a scan is not one equation but the equations of all of its steps.
    with jax.disable_jit():
        traced, out = jax.make_jaxpr(init, return_shape=True)(key)
    jaxpr, tree = traced.jaxpr, jax.tree.structure(out)
    parts = _parts(jaxpr)

    def draw(key: Array) -> Any:
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*traced.consts, key], strict=True))
        for part in parts:
            values = part.run(*(known[var] for var in part.inputs))
            known.update(zip(part.outputs, values, strict=True))
        return jax.tree.unflatten(tree, [known[var] for var in jaxpr.outvars])

    return draw


def _parts(jaxpr: jex.Jaxpr) -> list[_Part]:
    phases: dict[Any, int] = {}
    members: dict[int, list[Any]] = defaultdict(list)
    for eqn in _needed(jaxpr):
        earliest = max((phases.get(var, 0) for var in _variables(eqn.invars)), default=0)
        phase = earliest + (_kind(eqn) - earliest) % len(_Kind)
        members[phase].append(eqn)
        phases |= dict.fromkeys(eqn.outvars, phase)
    parts, wanted = [], _variables(jaxpr.outvars)
    for phase, eqns in sorted(members.items(), reverse=True):
        made = {var: None for eqn in eqns for var in eqn.outvars}
        read = _variables(var for eqn in eqns for var in eqn.invars)
        inputs = [var for var in read if var not in made]
        outputs = [var for var in made if var in wanted]
        run = jex.jaxpr_as_fun(jex.ClosedJaxpr(_piece(jaxpr, inputs, outputs, eqns), []))
        alone = phase % len(_Kind) == _Kind.ALONE
        parts.append(_Part(run if alone else jax.jit(run), inputs, outputs))
        wanted |= read
    return parts[::-1]


def _kind(eqn: jex.JaxprEqn) -> _Kind:
    name = eqn.primitive.name
    if name == "concatenate":
        return _Kind.STACKED
    draws = eqn.params.get("name") == _row.__name__
    return _Kind.ALONE if draws or name in ("random_fold_in", "random_split") else _Kind.TOGETHER


def _needed(jaxpr: jex.Jaxpr) -> list[jex.JaxprEqn]:
    """Returns the equations, in their order, that the results depend on."""
    wanted, kept = _variables(jaxpr.outvars), []
    for eqn in reversed(jaxpr.eqns):
        if any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted |= _variables(eqn.invars)
    return kept[::-1]


def _piece(
    jaxpr: jex.Jaxpr, inputs: list[jex.Var], outputs: list[jex.Var], eqns: list[jex.JaxprEqn]
) -> jex.Jaxpr:
    return jaxpr.replace(
        constvars=[],
        invars=inputs,
        outvars=outputs,
        eqns=eqns,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )


def _variables(atoms: Iterable[Any]) -> dict[jex.Var, None]:
    """Returns what is no literal, in order and once: a set would not keep the order."""
    return {atom: None for atom in atoms if isinstance(atom, jex.Var)}
