"""Enters calls that run again, branches and loops, so that taps stand inside of them.

Weights come in by closure, as they are the same for every example and step; only what a loop takes
apart or carries comes in as arrays, each weight with the place of its gradients beside it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxntk.kernels.traced.calls import call_once_traced, choose_inside
from jaxntk.kernels.traced.crossing import arrive, keys_of, kind_of, leave, leave_all
from jaxntk.kernels.traced.interpreter import Interpreter, Rule, Where
from jaxntk.kernels.traced.kinds import (
    INLINED,
    Kind,
    inner_program,
    output_kinds,
    plain,
    scan_kinds,
    scan_parts,
)
from jaxntk.kernels.traced.taps import Place, Reading
from jaxntk.kernels.traced.weights import Constant, Data, Node, Root, Value, is_bare, root_node
from jaxntk.networks.own_rules import OWN_RULE


def enter_call(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Runs a call: once traced where it may be, else as if it stood there in full."""
    program = inner_program(eqn)
    found = call_once_traced(run, program, inputs, where)
    return run.run(program, inputs, where) if found is None else found


def enter_checkpoint(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Runs the program under ``jax.checkpoint``, as the function did."""
    program = inner_program(eqn)
    kinds = output_kinds(program, [kind_of(value) for value in inputs])
    avals = [var.aval for var in plain(program)[0].outvars]
    data = [value.value for value in inputs if isinstance(value, Data)]

    def inside(data: list[Any]) -> list[Any]:
        given = iter(data)
        values = [Data(next(given)) if isinstance(v, Data) else v for v in inputs]
        before, run.checkpointed = run.checkpointed, True
        outs = run.run(program, values, where)
        run.checkpointed = before
        return leave_all(run, outs, kinds, avals, where)

    options = {name: eqn.params[name] for name in ("prevent_cse", "policy")}
    arrays = jax.checkpoint(inside, **options)(data)
    keys = keys_of(inputs)
    return [arrive(kind, out, keys, run.loops) for kind, out in zip(kinds, arrays, strict=True)]


def enter_branches(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Runs the branch that the first input chooses."""
    index, operands = inputs[0], inputs[1:]
    kinds = [kind_of(value) for value in operands]
    found = [output_kinds(branch, kinds) for branch in eqn.params["branches"]]
    joined = [max(each) for each in zip(*found, strict=True)]
    avals = [var.aval for var in eqn.outvars]
    if isinstance(index, Data):
        return _every_branch(run, eqn, inputs, where)
    if run.checkpointed:
        outs = choose_inside(run, eqn, inputs, joined, where)
        if outs is not None:
            return outs

    def branch(number: int, program: Any) -> list[Any]:
        inside = (*where, ("branch", number))
        return leave_all(run, run.run(program, operands, inside), joined, avals, inside)

    branches = [partial(branch, *each) for each in enumerate(eqn.params["branches"])]
    arrays = lax.switch(index.value, branches)
    keys = keys_of(operands)
    return [arrive(kind, out, keys, run.loops) for kind, out in zip(joined, arrays, strict=True)]


def _every_branch(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Runs all branches, since each example chooses for itself."""
    # So does vmap of the choice, which would give each example weights of its own.
    kinds, avals = [Kind.DATA] * len(eqn.outvars), [var.aval for var in eqn.outvars]
    branches, before, cases = eqn.params["branches"], run.taken, []
    which = jnp.clip(inputs[0].value.astype(jnp.int32), 0, len(branches) - 1)
    for number, program in enumerate(branches):
        taken = which == number
        run.taken = taken if before is None else jnp.logical_and(before, taken)
        operands = [
            Data(run.if_taken(value.value)) if isinstance(value, Data) else value
            for value in inputs[1:]
        ]
        inside = (*where, ("both", number))
        cases.append(leave_all(run, run.run(program, operands, inside), kinds, avals, inside))
    run.taken = before
    return [Data(lax.select_n(which, *each)) for each in zip(*cases, strict=True)]


class _Loop(NamedTuple):
    """A scan, taken apart.

    Args:
        program: of one step.
        where: the way to it.
        length: steps.
        depth: loops of several steps around one of its steps.
        fixed: what every step is given.
        start: what is carried, before the first step.
        slices: what is taken apart, whole.
        same: whether a carried weight is handed on as it is by every step, so that it may come in
            by closure.
        ends: what the results of a step depend on, the carried ones first.
        joined: by parameter and site inside, the place of the factors of all steps.
    """

    program: Any
    where: Where
    length: int
    depth: int
    fixed: list[Value]
    start: list[Value]
    slices: list[Value]
    same: list[bool]
    ends: list[Kind]
    joined: dict[Any, Any]

    @property
    def avals(self) -> list[Any]:
        """The shapes of the results of a step."""
        return [var.aval for var in plain(self.program)[0].outvars]


def enter_loop(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Runs a scan: what it takes apart comes in slice by slice, weights with their places."""
    loop = _take_apart(run, eqn, inputs, where)
    carried = len(loop.start)
    init = [
        leave(run, value, kind, aval, (*where, "in", at))
        for at, (value, kept, kind, aval) in enumerate(
            zip(loop.start, loop.same, loop.ends[:carried], loop.avals[:carried], strict=True)
        )
        if not kept
    ]
    taken = ([_whole(run, value) for value in loop.slices], list(loop.joined.values()))
    options = {name: eqn.params[name] for name in ("reverse", "unroll")}
    last, collected = lax.scan(
        partial(_one_step, run, loop), init, taken, length=loop.length, **options
    )
    moved, keys = iter(last), keys_of(inputs)
    return [
        value if kept else arrive(kind, next(moved), keys, run.loops)
        for value, kept, kind in zip(loop.start, loop.same, loop.ends, strict=False)
    ] + [
        arrive(kind, out, keys, run.loops)
        for kind, out in zip(loop.ends[carried:], collected, strict=True)
    ]


def _take_apart(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> _Loop:
    program, length = eqn.params["jaxpr"], eqn.params["length"]
    body, _ = plain(program)
    consts, carried = scan_parts(eqn)
    kinds, all_kinds = scan_kinds(eqn, [kind_of(value) for value in inputs])
    start = inputs[consts : consts + carried]
    same = [
        body.outvars[at] is body.invars[consts + at] and isinstance(value, Node)
        for at, value in enumerate(start)
    ]
    return _Loop(
        program,
        where,
        length,
        run.loops + (length != 1),
        inputs[:consts],
        start,
        inputs[consts + carried :],
        same,
        [*kinds, *all_kinds[carried:]],
        # Each step reads factors of its own.
        {at: zeros for at, zeros in run.joined.items() if at[1][: len(where)] == where},
    )


def _one_step(
    run: Interpreter, loop: _Loop, carry: list[Any], taken: tuple[Any, Any]
) -> tuple[list[Any], list[Any]]:
    """Runs one step of a scan; gives what is carried on and what is collected."""
    moving, (xs, places) = iter(carry), taken
    carried, keys = len(loop.start), keys_of([*loop.fixed, *loop.start, *loop.slices])
    carry_in = [
        value if kept else arrive(kind, next(moving), keys, loop.depth)
        for value, kept, kind in zip(loop.start, loop.same, loop.ends, strict=False)
    ]
    slices = [
        _slice_of(value, x, loop.depth, loop.length)
        for value, x in zip(loop.slices, xs, strict=True)
    ]
    before = run.loops, run.steps, run.joined
    run.loops, run.steps = loop.depth, (*run.steps, loop.length)
    run.joined = {**run.joined, **dict(zip(loop.joined, places, strict=True))}
    outs = run.run(loop.program, [*loop.fixed, *carry_in, *slices], loop.where)
    leaving = [
        None if at < carried and loop.same[at] else leave(run, *each, (*loop.where, "out", at))
        for at, each in enumerate(zip(outs, loop.ends, loop.avals, strict=True))
    ]
    run.loops, run.steps, run.joined = before
    moved = [each for each, kept in zip(leaving, loop.same, strict=False) if not kept]
    return moved, leaving[carried:]


def _whole(run: Interpreter, value: Value) -> Any:
    """Returns what a loop takes apart: arrays, for a weight with its place."""
    if not isinstance(value, Node):
        return value.value
    if is_bare(value):
        return value.value, _sliced_zeros(value.roots[0].place)
    return run.pair(value)


def _sliced_zeros(place: Place | None) -> Any:
    """Returns the zeros of a place that a loop takes apart; None where nothing inside is read."""
    if place is None or place.zeros is None:
        return None
    own = {Reading.KERNEL: 2, Reading.NORM: 0}.get(place.reading)
    return None if own is not None and place.zeros.ndim == own else place.zeros


def _slice_of(value: Value, arrays: Any, depth: int, length: int) -> Value:
    """Returns the slice that one step gets of what a loop takes apart."""
    if isinstance(value, Data):
        return Data(arrays)
    if not isinstance(value, Node):
        return Constant(arrays)
    inner, zeros = arrays
    if not is_bare(value):
        keys = keys_of([value])
        place = None if zeros is None else Place(Reading.GRADIENT, zeros)
        return root_node(Root(keys, inner, place, depth, derived=True))
    outer = value.roots[0]
    place = None if zeros is None else Place(outer.place.reading, zeros)
    return root_node(Root(outer.keys, inner, place, depth, (*outer.leading, length), outer.derived))


def enter_own_rule(run: Interpreter, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
    """Enters a function with a derivative of its own that is known to be that of its program."""
    program = inner_program(eqn)
    if any(
        inner.primitive.name == "name" and inner.params["name"] == OWN_RULE
        for inner in plain(program)[0].eqns
    ):
        return run.run(program, inputs, where)
    return run.tapped(eqn, inputs, where)


CONTROL_FLOW: dict[str, Rule] = {
    **dict.fromkeys(INLINED, enter_call),
    "checkpoint": enter_checkpoint,
    "remat": enter_checkpoint,
    "remat2": enter_checkpoint,
    "cond": enter_branches,
    "custom_vjp_call": enter_own_rule,
    "scan": enter_loop,
}
"""The operations that are entered."""
