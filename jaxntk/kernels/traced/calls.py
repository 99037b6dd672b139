"""Runs part of a program as a function of arrays alone, which JAX may then keep or go back through.

A part may be closed this way if its weights are parameters, or slices of them, none of them twice,
and are not read by factors, which have a place for each way to them. Two things need it: a program
that is called again and again is traced once (as JAX does with a function that is jitted inside of
another), and under ``jax.checkpoint`` a choice is gone back through inside the branch that it took,
where JAX would hand on what any of the branches may need.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxntk.kernels.traced.crossing import arrive, kind_of, leave_all
from jaxntk.kernels.traced.interpreter import Interpreter, Where
from jaxntk.kernels.traced.kinds import Kind, is_inexact, output_kinds, plain
from jaxntk.kernels.traced.taps import Place, Reading
from jaxntk.kernels.traced.weights import (
    Constant,
    Data,
    Node,
    Root,
    Value,
    is_bare,
    root_node,
)


class Arrays(NamedTuple):
    """What a closed part is a function of.

    Args:
        data: what has derivatives and depends on the example.
        zeros: places of the weights; None for one that is read nowhere.
        fixed: all other values, weights among them.
        tag: the example's zero.
        taken: whether the example takes the branch that runs, or None.
    """

    data: list[Any]
    zeros: list[Any]
    fixed: list[Any]
    tag: Any
    taken: Any


class _Weight(NamedTuple):
    """What is known of a weight beside its value."""

    reading: Reading | None
    depth: int
    leading: tuple[int, ...]
    derived: bool


@dataclass(frozen=True)
class Closed:
    """How arrays become the values of a part again.

    Args:
        kinds: of its inputs, and whether they have derivatives.
        weights: among them.
        level: loops of several steps, lengths of all loops, whether a loop or branch and whether a
            checkpoint is around.
    """

    kinds: tuple[tuple[Kind, bool], ...]
    weights: tuple[_Weight, ...]
    level: tuple[int, tuple[int, ...], bool, bool]

    def open(self, options: Any, rules: Any, arrays: Arrays) -> tuple[Interpreter, list[Value]]:
        """Returns an interpreter and the values of the part's inputs."""
        run = Interpreter(options, arrays.tag, None, rules)
        run.loops, run.steps, run.controlled, run.checkpointed = self.level
        run.taken = arrays.taken
        data, fixed = iter(arrays.data), iter(arrays.fixed)
        weights = iter(enumerate(zip(self.weights, arrays.zeros, strict=True)))

        def value(kind: Kind, real: bool) -> Value:
            if kind is not Kind.WEIGHT:
                array = next(data) if kind is Kind.DATA and real else next(fixed)
                return Data(array) if kind is Kind.DATA else Constant(array)
            number, (weight, zeros) = next(weights)
            place = None if weight.reading is None else Place(weight.reading, zeros)
            root = Root((number,), next(fixed), place, weight.depth, weight.leading, weight.derived)
            return root_node(root)

        return run, [value(*each) for each in self.kinds]


def close(run: Interpreter, inputs: Sequence[Value], where: Where) -> tuple[Closed, Arrays] | None:
    """Returns a part's inputs as arrays, and how they become values again; None if it cannot be."""
    kinds = tuple((kind_of(value), _is_real(value.value)) for value in inputs)
    roots = [
        _bare_root(v) for v, (kind, _) in zip(inputs, kinds, strict=True) if kind is Kind.WEIGHT
    ]
    known = [root for root in roots if root is not None]
    by_factors = any(root.place and root.place.reading is Reading.FACTORS for root in known)
    if run.options is None or len(set(known)) < len(roots) or by_factors:
        return None
    weights = tuple(
        _Weight(root.place and root.place.reading, root.depth, root.leading, root.derived)
        for root in known
    )
    moving = [kind is Kind.DATA and real for kind, real in kinds]
    arrays = Arrays(
        [value.value for value, each in zip(inputs, moving, strict=True) if each],
        [root.place and root.place.zeros for root in known],
        [value.value for value, each in zip(inputs, moving, strict=True) if not each],
        run.tag,
        run.taken,
    )
    level = (run.loops, run.steps, run.is_controlled(where), run.checkpointed)
    return Closed(kinds, weights, level), arrays


def call_once_traced(
    run: Interpreter, program: Any, inputs: list[Value], where: Where
) -> list[Value] | None:
    """Runs a program by a function that is traced once for all calls that are alike.

    Returns:
        Its results, or None if the program has to be run where it stands.
    """
    ends, part = output_kinds(program, list(map(kind_of, inputs))), close(run, inputs, where)
    if part is None or Kind.WEIGHT in ends:
        return None
    closed, arrays = part
    key = (id(program), closed)
    if key not in run.calls:
        run.calls[key] = jax.jit(_opened(run, closed, program, ends))
    return _arrived(run, ends, run.calls[key](arrays))


def choose_inside(
    run: Interpreter, eqn: Any, inputs: list[Value], ends: Sequence[Kind], where: Where
) -> list[Value] | None:
    """Runs the branch that is chosen; on the way back it is run again, inside the branch.

    Args:
        run: the interpreter.
        eqn: the choice.
        inputs: its number, which no example chooses for itself, and what the branches are given.
        ends: what the results depend on, whichever branch is taken.
        where: the way to it.

    Returns:
        The results, or None if the choice is none that this is right for.
    """
    part = close(run, inputs[1:], (*where, ("branch",)))
    inexact = all(is_inexact(var.aval) for var in eqn.outvars)
    if part is None or not inexact or Kind.WEIGHT in ends:
        return None
    closed, arrays = part
    branches = [_opened(run, closed, program, ends) for program in eqn.params["branches"]]

    @jax.custom_vjp
    def choose(index: Any, moving: Any, others: Any) -> list[Any]:
        return lax.switch(index, branches, Arrays(*moving, *others))

    def forward(index: Any, moving: Any, others: Any) -> tuple[list[Any], Any]:
        return choose(index, moving, others), (index, moving, others)

    def backward(saved: Any, cts: list[Any]) -> tuple[None, Any, None]:
        index, *given = saved
        return None, lax.switch(index, list(map(_pull_back, branches)), *given, cts), None

    choose.defvjp(forward, backward)
    outs = choose(inputs[0].value, tuple(arrays[:2]), tuple(arrays[2:]))
    return _arrived(run, ends, outs)


def _opened(
    run: Interpreter, closed: Closed, program: Any, ends: Sequence[Kind]
) -> Callable[[Arrays], list[Any]]:
    """Returns a part's program as a function of arrays."""
    options, rules = run.options, run.rules
    avals = [var.aval for var in plain(program)[0].outvars]

    def call(arrays: Arrays) -> list[Any]:
        inner, values = closed.open(options, rules, arrays)
        return leave_all(inner, inner.run(program, values), ends, avals, ())

    return call


def _pull_back(branch: Callable[[Arrays], list[Any]]) -> Callable[..., Any]:
    """Returns the backward pass of a branch, which runs it again."""

    def back(moving: Any, others: Any, cts: list[Any]) -> Any:
        _, pull = jax.vjp(lambda moving: branch(Arrays(*moving, *others)), moving)
        return pull(cts)[0]

    return back


def _arrived(run: Interpreter, ends: Sequence[Kind], arrays: Sequence[Any]) -> list[Value]:
    return [arrive(kind, out, (), run.loops) for kind, out in zip(ends, arrays, strict=True)]


def _bare_root(value: Value) -> Root | None:
    return value.roots[0] if isinstance(value, Node) and is_bare(value) and value.roots else None


def _is_real(value: Any) -> bool:
    return jnp.issubdtype(jax.typeof(value).dtype, jnp.inexact)
