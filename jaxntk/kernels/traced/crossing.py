"""How values cross the border of a call, a branch or a step of a loop, where they become arrays."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxntk.kernels.traced.interpreter import Interpreter, Where
from jaxntk.kernels.traced.kinds import Kind
from jaxntk.kernels.traced.taps import Place, Reading
from jaxntk.kernels.traced.weights import Constant, Data, Node, Root, Value, root_node


def kind_of(value: Value) -> Kind:
    """Returns what a value depends on."""
    match value:
        case Node():
            return Kind.WEIGHT
        case Data():
            return Kind.DATA
    return Kind.CONSTANT


def leave(run: Interpreter, value: Value, kind: Kind, aval: Any, where: Where) -> Any:
    """Returns a value as the arrays that leave a call, a branch or a step of a loop."""
    if kind is Kind.WEIGHT and isinstance(value, Node):
        return run.pair(value)
    if kind is Kind.WEIGHT:
        assert isinstance(value, Constant)
        return value.value, run.zeros(value.value)
    data = run.data(value, where)
    # A weak type may have become a strong one on the way.
    return lax.convert_element_type(data, aval.dtype) if _is_number(aval) else data


def leave_all(
    run: Interpreter,
    values: Sequence[Value],
    kinds: Sequence[Kind],
    avals: Sequence[Any],
    where: Where,
) -> list[Any]:
    """Returns values as the arrays that leave a call, a branch or a step of a loop."""
    return [
        leave(run, *each, (*where, "out", at))
        for at, each in enumerate(zip(values, kinds, avals, strict=True))
    ]


def _is_number(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.number)


def arrive(kind: Kind, arrays: Any, keys: tuple[int, ...], depth: int) -> Value:
    """Returns the value that arrays stand for after a call, a branch or a loop."""
    if kind is Kind.WEIGHT:
        value, zeros = arrays
        place = None if zeros is None else Place(Reading.GRADIENT, zeros)
        return root_node(Root(keys, value, place, depth, derived=True))
    return Data(arrays) if kind is Kind.DATA else Constant(arrays)


def keys_of(values: Sequence[Value]) -> tuple[int, ...]:
    """Lists the parameters that any of several values depends on."""
    roots = [root for value in values if isinstance(value, Node) for root in value.roots]
    return tuple(dict.fromkeys(key for root in roots for key in root.keys))
