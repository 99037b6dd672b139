"""What the values of a program depend on, from the program alone.

The interpreter needs it before it runs a loop, whose carried values have to be of one kind, and
checks it against what it meets.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import jax.numpy as jnp
from jax.extend import core as jax_core


class Kind(IntEnum):
    """What a value depends on; the larger wins where values meet."""

    CONSTANT = 0
    WEIGHT = 1
    DATA = 2


INLINED = frozenset(["closed_call", "core_call", "jit", "pjit"])
"""Calls whose program is what they do."""

OWN_DERIVATIVES = frozenset(["custom_jvp_call", "custom_vjp_call"])
"""Calls whose derivative need not be that of their program."""

CHECKPOINTS = frozenset(["checkpoint", "remat", "remat2"])
"""Calls whose program runs again on the way back."""


REFERENCES = frozenset(["addupdate", "get", "new_ref", "ref", "swap"])
"""Operations on arrays that are changed in place, which are not followed."""


def is_over_examples(eqn: Any) -> bool:
    """Tells whether an operation joins all examples of a batch, as ``lax.pmean`` does."""
    axes = eqn.params.get("axes", eqn.params.get("axis_name", ()))
    return any(isinstance(axis, str) for axis in (axes if isinstance(axes, tuple) else (axes,)))


def holds_statistics(eqn: Any) -> bool:
    """Tells whether a program inside an operation joins all examples of a batch."""

    def programs(value: Any) -> list[Any]:
        if isinstance(value, tuple | list):
            return [program for each in value for program in programs(each)]
        return [value] if hasattr(plain(value)[0], "eqns") else []

    return any(
        is_over_examples(inner) or holds_statistics(inner)
        for value in eqn.params.values()
        for program in programs(value)
        for inner in plain(program)[0].eqns
    )


def inner_program(eqn: Any) -> Any:
    """Returns the one program that an operation holds, with its constants."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in eqn.params:
            return eqn.params[name]
    raise NotImplementedError(f"{eqn.primitive.name} without a program")


def plain(program: Any) -> tuple[Any, Sequence[Any]]:
    """Returns a program, and its constants, for closed and open ones."""
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def output_kinds(program: Any, kinds: Sequence[Kind]) -> list[Kind]:
    """Returns what the results of a program depend on.

    Args:
        program: the program.
        kinds: of its inputs.

    Returns:
        One kind a result.
    """
    jaxpr, _ = plain(program)
    known: dict[Any, Kind] = dict.fromkeys(jaxpr.constvars, Kind.CONSTANT)
    known.update(zip(jaxpr.invars, kinds, strict=True))

    def read(var: Any) -> Kind:
        return Kind.CONSTANT if isinstance(var, jax_core.Literal) else known[var]

    for eqn in jaxpr.eqns:
        found = equation_kinds(eqn, [read(var) for var in eqn.invars])
        known.update(zip(eqn.outvars, found, strict=True))
    return [read(var) for var in jaxpr.outvars]


def equation_kinds(eqn: Any, kinds: Sequence[Kind]) -> list[Kind]:
    """Returns what the results of one operation depend on."""
    name, most = eqn.primitive.name, max(kinds, default=Kind.CONSTANT)
    if most is Kind.WEIGHT and name not in INLINED:
        stopped = name == "stop_gradient"
        return [
            Kind.CONSTANT if stopped or not is_inexact(var.aval) else Kind.WEIGHT
            for var in eqn.outvars
        ]
    if Kind.WEIGHT not in kinds:
        return [most] * len(eqn.outvars)
    if name in INLINED or name in CHECKPOINTS:
        return output_kinds(inner_program(eqn), kinds)
    if name == "cond":
        found = [output_kinds(branch, kinds[1:]) for branch in eqn.params["branches"]]
        joined = [max(each) for each in zip(*found, strict=True)]
        return [Kind.DATA] * len(joined) if kinds[0] is Kind.DATA else joined
    if name == "scan":
        return scan_kinds(eqn, kinds)[1]
    return [Kind.DATA] * len(eqn.outvars)


def is_inexact(aval: Any) -> bool:
    """Tells whether values of an abstract array have derivatives."""
    return jnp.issubdtype(aval.dtype, jnp.inexact)


def scan_parts(eqn: Any) -> tuple[int, int]:
    """Returns how many inputs of a loop are constants, and how many are carried."""
    # By shapes, as each series of JAX has other names for it: a step gets a slice of what is
    # scanned over, and gives a slice of what is collected.
    body, _ = plain(eqn.params["jaxpr"])
    carried = sum(
        len(inner.aval.shape) == len(outer.aval.shape)
        for inner, outer in zip(body.outvars, eqn.outvars, strict=True)
    )
    sliced = sum(
        len(inner.aval.shape) < len(outer.aval.shape)
        for inner, outer in zip(body.invars, eqn.invars, strict=True)
    )
    return len(eqn.invars) - carried - sliced, carried


def scan_kinds(eqn: Any, kinds: Sequence[Kind]) -> tuple[list[Kind], list[Kind]]:
    """Returns what the carried values of a loop depend on, and what all of its results do."""
    consts, carried = scan_parts(eqn)
    fixed, carry, slices = (
        list(kinds[:consts]),
        list(kinds[consts : consts + carried]),
        list(kinds[consts + carried :]),
    )
    while True:
        found = output_kinds(eqn.params["jaxpr"], [*fixed, *carry, *slices])
        # What begins as a constant and becomes data is data from the first step on.
        joined = [max(pair) for pair in zip(carry, found[:carried], strict=True)]
        if joined == carry:
            return carry, [*carry, *found[carried:]]
        carry = joined
