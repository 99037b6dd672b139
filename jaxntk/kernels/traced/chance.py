"""Whether a program throws dice that decide what becomes of data or weights, as dropout does.

Random numbers as such are no chance: features drawn from a fixed key are part of one network. A
random *truth value* that meets data or weights is dropout, DropPath or DropConnect left on, and the
kernel of one draw is not the kernel of the network.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core as jax_core

from jaxntk.kernels.traced.kinds import Kind, equation_kinds, plain

DRAWS = frozenset([
    "random_bits",
    "random_gamma",
    "rng_bit_generator",
    "rng_uniform",
    "threefry2x32",
])
"""Operations that draw."""


class _Taint(IntEnum):
    NONE = 0
    RANDOM = 1
    TRUTH = 2


class _Value(NamedTuple):
    kind: Kind
    taint: _Taint


def throws_dice(program: Any, kinds: Sequence[Kind]) -> bool:
    """Tells whether a random truth value meets data or weights in a program.

    Args:
        program: the program.
        kinds: of its inputs.

    Returns:
        Whether.

    Example:
        >>> import jax
        >>> def dropped(x):
        ...     return x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape).astype(x.dtype)
        >>> throws_dice(jax.make_jaxpr(dropped)(jnp.ones(3)), [Kind.DATA])
        True
    """
    found: list[bool] = []
    _walk(program, [_Value(kind, _Taint.NONE) for kind in kinds], found)
    return bool(found)


def _walk(program: Any, inputs: Sequence[_Value], found: list[bool]) -> list[_Value]:
    jaxpr, _ = plain(program)
    nothing = _Value(Kind.CONSTANT, _Taint.NONE)
    known: dict[Any, _Value] = dict.fromkeys(jaxpr.constvars, nothing)
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(var: Any) -> _Value:
        return nothing if isinstance(var, jax_core.Literal) else known[var]

    for eqn in jaxpr.eqns:
        values = [read(var) for var in eqn.invars]
        kinds = equation_kinds(eqn, [value.kind for value in values])
        taints = _taints(eqn, values, found)
        known.update(zip(eqn.outvars, map(_Value, kinds, taints), strict=True))
    return [read(var) for var in jaxpr.outvars]


def _taints(eqn: Any, values: Sequence[_Value], found: list[bool]) -> list[_Taint]:
    most = max((value.taint for value in values), default=_Taint.NONE)
    constant = all(value.kind is Kind.CONSTANT for value in values)
    inner = [
        each
        for each in jax_core.jaxprs_in_params(eqn.params)
        if len(plain(each)[0].invars) == len(values)
        and len(plain(each)[0].outvars) == len(eqn.outvars)
    ]
    if eqn.primitive.name in DRAWS:
        return [_Taint.RANDOM] * len(eqn.outvars)
    if len(inner) == 1:
        # A call, or a loop: what a step is given is what the loop is given.
        return [value.taint for value in _walk(inner[0], values, found)]
    for branch in eqn.params.get("branches", ()):
        _walk(branch, values[1:], found)
    if most is _Taint.TRUTH and not constant:
        found.append(True)
    return [
        _Taint.TRUTH
        if most is _Taint.RANDOM and jnp.issubdtype(var.aval.dtype, jnp.bool_)
        else most
        for var in eqn.outvars
    ]
