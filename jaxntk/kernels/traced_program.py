"""From a traced function to the list of operations that XLA makes of it, with their sizes.

What is done to the program here, before :mod:`jaxntk.kernels.liveness` says what is held when:

* Code that is never used is removed, calls are inlined, and a loop of one step is no loop.
* Reshapes and transposes cost nothing: they rename an array, or become its layout.
* A loop holds its state, its stacked results whole from before it begins, and what one step needs;
  it reads and writes slices of stacked arrays in place.
* What does not change from step to step is computed once, before the loop.
* A switch holds what its largest branch needs.
* A matrix product on the CPU packs rows of its right operand if it sums over the last axis of the
  left one.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend import core as jax_core
from jax.interpreters.partial_eval import dce_jaxpr

from jaxntk.kernels.liveness import LOOPS, NOTHING, REBUILT, Operation, Peak, peak

RENAMES = frozenset([
    "copy_p",
    "device_put",
    "expand_dims",
    "name",
    "optimization_barrier",
    "pcast",
    "pvary",
    "reshape",
    "sharding_constraint",
    "squeeze",
    "transpose",
])
CALLS = frozenset([
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "jit",
    "pjit",
    "remat",
    "remat2",
])
PACKED_ROWS = 64
"""Rows of the right operand that a product on the CPU holds a second time, packed.

Measured on two cores, for 16 to 1,024 rows and up to 800,000 columns; more cores may pack more.
"""

Value = int | None
"""An array by its number; None for what costs nothing here: constants and arguments."""


def temporaries(jaxpr: jax_core.Jaxpr, *, on_cpu: bool) -> Peak:
    """Returns the most bytes that a program holds beside its arguments and outputs.

    Args:
        jaxpr: the program.
        on_cpu: whether it runs on the CPU, else on an accelerator.

    Returns:
        The bytes, and the operation during which they are held.
    """
    used, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    program = _Program([], on_cpu=on_cpu)
    outputs = _known(program.add(used, [None] * len(used.invars)))
    for output in outputs:
        program.sizes[output] = 0
    return program.peak(owned=(), kept=outputs)


def constants(jaxpr: jax_core.Jaxpr) -> int:
    """Returns the bytes of the arrays that a program, and all inside it, closes over.

    Args:
        jaxpr: the program.

    Returns:
        The bytes; a program that is called twice counts once.
    """
    programs, found = [jaxpr], {}
    while programs:
        program = programs.pop()
        found.update((var, size_of(var.aval)) for var in program.constvars)
        programs += [inner for eqn in program.eqns for inner in _inner(eqn)]
    return sum(found.values())


def size_of(aval: Any) -> int:
    """Returns the bytes of an array.

    Args:
        aval: anything with shape and dtype; tokens have neither and take no bytes.

    Returns:
        The bytes.
    """
    dtype = getattr(aval, "dtype", None)
    return 0 if dtype is None else math.prod(aval.shape) * dtype.itemsize


class _Program:
    """A program while it is flattened; programs inside one another number arrays together."""

    def __init__(self, sizes: list[int], *, on_cpu: bool) -> None:
        self.sizes = sizes
        self.on_cpu = on_cpu
        self.operations: list[Operation] = []

    def add(self, jaxpr: jax_core.Jaxpr, inputs: Sequence[Value]) -> list[Value]:
        """Appends the operations of ``jaxpr`` and returns its outputs."""
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=False))

        def read(atom: Any) -> Value:
            return None if isinstance(atom, jax_core.Literal) else values.get(atom)

        for eqn in jaxpr.eqns:
            results = self._add_equation(eqn, [read(atom) for atom in eqn.invars])
            values.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _add_equation(self, eqn: Any, operands: list[Value]) -> Sequence[Value]:
        name, inner = eqn.primitive.name, _inner(eqn)
        one_step = name == "scan" and eqn.params["length"] == 1
        if inner and (name in CALLS or one_step):
            return self.add(inner[0], operands)
        if name in RENAMES and len(eqn.outvars) == len(operands):
            return operands
        reads, inside = _known(operands), NOTHING
        if name in LOOPS:
            inside, more = self._loop(eqn, operands)
            reads += more
        elif inner:
            passed = operands[1:] if name == "cond" else operands
            inside = max(self._branch(branch, passed) for branch in inner)
        elif name == "dot_general" and self.on_cpu:
            inside = Peak(_packed(eqn), "packing")
        results = [self._new(var.aval) for var in eqn.outvars]
        self.operations.append(Operation(name, tuple(reads), tuple(results), inside))
        return results

    def _loop(self, eqn: Any, operands: list[Value]) -> tuple[Peak, list[int]]:
        """Returns what one step holds beside the loop's state, and more arrays the loop reads."""
        body = _body(eqn)
        passed = operands[len(operands) - len(body.invars) :]
        carried, stacked = _carried(eqn, body), _stacked(eqn, body)
        first = len(passed) - stacked - carried
        step = _Program(self.sizes, on_cpu=self.on_cpu)
        own = [self._new(var.aval) for var in body.invars[first:]]
        state, slices = own[:carried], own[carried:]
        step.operations = [Operation("dynamic_slice", (), (each,)) for each in slices]
        outputs = step.add(body, [*passed[:first], *own])
        invariant = step.hoist(own)
        self.operations += invariant
        updates = _known(outputs[carried:])
        step.operations += [Operation("dynamic_update_slice", (each,), ()) for each in updates]
        most = step.peak(owned=state, kept=_known(outputs[:carried]))
        # The whole stack is there, filled with zeros, before the loop begins.
        stacks = [self._new(var.aval) for var in eqn.outvars[carried:]]
        self.operations += [Operation("broadcast_in_dim", (), (each,)) for each in stacks]
        hoisted = [made for each in invariant for made in each.writes if each.name not in REBUILT]
        return _beyond(most, sum(self.sizes[each] for each in state)), stacks + hoisted

    def hoist(self, varying: Iterable[int]) -> list[Operation]:
        """Takes out, and returns, the operations that do the same in every step."""
        changing, inside, outside = set(varying), [], []
        for each in self.operations:
            if changing.isdisjoint(each.reads) and changing.isdisjoint(each.writes):
                outside.append(each)
                # Cheaper to make again than to keep.
                if each.name in REBUILT:
                    inside.append(each)
            else:
                inside.append(each)
                changing.update(each.writes)
        self.operations = inside
        return outside

    def _branch(self, jaxpr: jax_core.Jaxpr, inputs: Sequence[Value]) -> Peak:
        """Returns what an inner program holds beside its outputs."""
        branch = _Program(self.sizes, on_cpu=self.on_cpu)
        most = branch.peak(owned=(), kept=_known(branch.add(jaxpr, inputs)))
        return _beyond(most, sum(size_of(var.aval) for var in jaxpr.outvars))

    def _new(self, aval: Any) -> int:
        self.sizes.append(size_of(aval))
        return len(self.sizes) - 1

    def peak(self, owned: Sequence[int], kept: Sequence[int]) -> Peak:
        """Returns the most that this program holds at once."""
        return peak(self.operations, self.sizes, owned, kept, on_cpu=self.on_cpu)


def _inner(eqn: Any) -> list[jax_core.Jaxpr]:
    # JAX 0.12 has no closed jaxprs any more; a plain one then names itself.
    return [getattr(each, "jaxpr", each) for each in jax_core.jaxprs_in_params(eqn.params)]


def _body(eqn: Any) -> jax_core.Jaxpr:
    body = eqn.params["jaxpr" if eqn.primitive.name == "scan" else "body_jaxpr"]
    return getattr(body, "jaxpr", body)


def _carried(eqn: Any, body: jax_core.Jaxpr) -> int:
    """Counts the state of a loop: results that are no stack, as the shapes tell in every JAX."""
    pairs = zip(eqn.outvars, body.outvars, strict=True)
    return sum(_shape(whole) == _shape(each) for whole, each in pairs)


def _stacked(eqn: Any, body: jax_core.Jaxpr) -> int:
    """Counts the operands of which every step takes a slice."""
    operands = eqn.invars[len(eqn.invars) - len(body.invars) :]
    pairs = zip(operands, body.invars, strict=True)
    return sum(_shape(whole) != _shape(each) for whole, each in pairs)


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _known(values: Iterable[Value]) -> list[int]:
    return [value for value in values if value is not None]


def _beyond(most: Peak, size: int) -> Peak:
    return Peak(max(0, most.size - size), most.operation)


def _packed(eqn: Any) -> int:
    (left_axes, right_axes), (_, right_batch) = eqn.params["dimension_numbers"]
    left, right = (var.aval for var in eqn.invars)
    if left.ndim - 1 not in left_axes:
        return 0
    contracted = math.prod(left.shape[axis] for axis in left_axes)
    free = set(range(right.ndim)) - set(right_axes) - set(right_batch)
    rows = math.prod(right.shape[axis] for axis in free)
    return contracted * min(rows, PACKED_ROWS) * right.dtype.itemsize
