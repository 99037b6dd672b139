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

from jaxntk.kernels.traced.kinds import Kind, equation_kinds, plain, scan_parts

DRAWS = frozenset([
    "random_bits",
    "random_gamma",
    "rng_bit_generator",
    "rng_uniform",
    "threefry2x32",
])
"""Operations that draw."""


ROUNDING = frozenset(["ceil", "floor"])
"""Operations that make choices of random numbers, as truth values are."""


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
    name, most = eqn.primitive.name, max((value.taint for value in values), default=_Taint.NONE)
    constant = all(value.kind is Kind.CONSTANT for value in values)
    if name in DRAWS:
        return [_Taint.RANDOM] * len(eqn.outvars)
    if name == "scan":
        consts, carried = scan_parts(eqn)
        return _loop(eqn.params["jaxpr"], values, consts, carried, found)
    if name == "while":
        first, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        inside = values[first:]
        return _loop(eqn.params["body_jaxpr"], inside, consts, len(inside) - consts, found)
    if name == "cond":
        if values[0].taint is _Taint.TRUTH and not constant:
            found.append(True)
        runs = [_walk(branch, values[1:], found) for branch in eqn.params["branches"]]
        return [max(value.taint for value in each) for each in zip(*runs, strict=True)]
    inner = [each for each in jax_core.jaxprs_in_params(eqn.params) if _fits(each, eqn)]
    if len(inner) == 1:
        return [value.taint for value in _walk(inner[0], values, found)]
    if most is _Taint.TRUTH and not constant:
        found.append(True)
    return [_result(eqn, var, most) for var in eqn.outvars]


def _result(eqn: Any, var: Any, most: _Taint) -> _Taint:
    """Returns what a result of an operation is, given the most random of its operands."""
    steps = jnp.issubdtype(var.aval.dtype, jnp.bool_) or eqn.primitive.name in ROUNDING
    truth = most is _Taint.RANDOM and steps
    return _Taint.TRUTH if truth and not _from_the_end(eqn) else most


def _from_the_end(eqn: Any) -> bool:
    """Tells whether an operation finds the negative ones among numbers of entries, as indexing."""
    last = eqn.invars[-1]
    if eqn.primitive.name != "lt" or not isinstance(last, jax_core.Literal):
        return False
    zero = jnp.ndim(last.val) == 0 and bool(last.val == 0)
    return zero and jnp.issubdtype(jnp.result_type(last.val), jnp.integer)


def _fits(program: Any, eqn: Any) -> bool:
    jaxpr, _ = plain(program)
    return len(jaxpr.invars) == len(eqn.invars) and len(jaxpr.outvars) == len(eqn.outvars)


def _loop(
    body: Any, values: Sequence[_Value], consts: int, carried: int, found: list[bool]
) -> list[_Taint]:
    """Walks the steps of a loop until what they carry has become all that it can become."""
    values = list(values)
    while True:
        outs = _walk(body, values, found)
        carry = values[consts : consts + carried]
        joined = [
            _Value(max(a.kind, b.kind), max(a.taint, b.taint))
            for a, b in zip(carry, outs[:carried], strict=True)
        ]
        if joined == carry:
            return [value.taint for value in (*carry, *outs[carried:])]
        values[consts : consts + carried] = joined
