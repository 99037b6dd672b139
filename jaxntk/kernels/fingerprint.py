"""What a traced program is, as something to look up: equal keys mean equal programs.

A function may be called again after what it closes over has changed. It is therefore traced at
every call, which is cheap beside a kernel, and compiled again only if the program is another one.
Arrays that the program closes over are its inputs, and not part of the key.
"""

import types
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jax_core

from jaxntk.kernels.traced.kinds import OWN_DERIVATIVES, inner_program, plain

Inside = tuple[tuple[str, str], ...]
"""Functions with a derivative of their own that are being looked into, by file and name."""

LEVELS = 2
"""How often a function is looked into inside of itself; another one may have its name."""


class _Same:
    """An object that equals only itself, kept alive so that nothing else becomes it."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def fingerprint(program: Any) -> Hashable:
    """Returns a key of a program without the arrays that are its constants.

    Args:
        program: a traced program.

    Returns:
        The key.

    Example:
        >>> def key(f):
        ...     return fingerprint(jax.make_jaxpr(f)(1.0))
        >>> one = key(lambda x: x + 1)
        >>> one == key(lambda y: y + 1), one == key(lambda x: x + 2)
        (True, False)
    """
    return _fingerprint(program, ())


def _fingerprint(program: Any, inside: Inside) -> Hashable:
    jaxpr, _ = plain(program)
    numbers: dict[Any, int] = {}

    def number(var: Any) -> Hashable:
        if isinstance(var, jax_core.Literal):
            return ("literal", str(var.aval), _array(np.asarray(var.val)))
        return numbers.setdefault(var, len(numbers))

    heads = tuple((number(var), str(var.aval)) for var in (*jaxpr.constvars, *jaxpr.invars))
    body = []
    for eqn in jaxpr.eqns:
        inputs = tuple(number(var) for var in eqn.invars)
        outs = tuple((number(var), str(var.aval)) for var in eqn.outvars)
        body.append((eqn.primitive.name, inputs, outs, _params(eqn, inside)))
    return heads, tuple(body), tuple(number(var) for var in jaxpr.outvars)


def _params(eqn: Any, inside: Inside) -> Hashable:
    if eqn.primitive.name not in OWN_DERIVATIVES:
        return _value(eqn.params, inside)
    inner, _ = plain(inner_program(eqn))
    file, name = str(inner.debug_info.func_filename), str(inner.debug_info.func_name)
    known, body = (file, name), _value(inner_program(eqn), inside)
    # The way forward of a rule may be the function itself, whose rule is being looked at.
    if inside.count(known) >= LEVELS:
        return known, body
    # A rule may close over anything: what it computes is its key.
    return body, _value(_differentiated(eqn), (*inside, known))


def _differentiated(eqn: Any) -> Any:
    """Traces the derivative of one operation."""

    def bind(*values: Any) -> Any:
        return eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))

    avals = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in eqn.invars]
    # JAX refuses to differentiate a rule with respect to what its function closes over.
    closed_over = eqn.params.get("num_consts", 0)

    def derivative(*values: Any) -> Any:
        consts, moving = values[:closed_over], values[closed_over:]
        outs, pull_back = jax.vjp(lambda *moving: bind(*consts, *moving), *moving)
        return pull_back(jax.tree.map(_cotangent, outs))

    return jax.make_jaxpr(derivative)(*avals)


def _cotangent(out: Any) -> Any:
    if jnp.issubdtype(out.dtype, jnp.inexact):
        return jnp.ones_like(out)
    return np.zeros(out.shape, jax.dtypes.float0)


def _value(value: Any, inside: Inside) -> Hashable:
    """Returns a key of a parameter of an operation."""
    if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
        _, consts = plain(value)
        return _fingerprint(value, inside), tuple(_value(const, inside) for const in consts)
    match value:
        case np.ndarray() | np.generic():
            return _array(np.asarray(value))
        case Mapping():
            return tuple((str(key), _value(value[key], inside)) for key in sorted(value, key=str))
        case tuple() | list():
            return (type(value).__name__, *(_value(each, inside) for each in value))
        case jax.Array() | types.FunctionType() | types.MethodType():
            return _Same(value)
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return type(value).__name__, value


def array_key(array: Any) -> Hashable:
    """Returns a key of an array: what it holds, or for one that cannot change which it is."""
    return _Same(array) if isinstance(array, jax.Array) else _array(np.asarray(array))


def _array(array: np.ndarray) -> Hashable:
    return str(array.dtype), array.shape, array.tobytes()
