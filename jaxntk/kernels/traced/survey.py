"""Which reading suits each parameter: found by running the interpreter on shapes.

A parameter's kernel is read off where it is used (``KERNEL``) if it is used once, outside of loops
whose every step has it, and reaches its use without becoming an array of another level. Branches of
which only one runs count as one use. Otherwise its gradients are collected for each example
(``GRADIENT``), which is right whatever happens to it, and holds n copies of it; or, where its uses
have factors that are no larger, these are (``FACTORS``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxntk.kernels.traced.control_flow import CONTROL_FLOW
from jaxntk.kernels.traced.interpreter import Interpreter, Where
from jaxntk.kernels.traced.joined import FactorShape, factor_shape
from jaxntk.kernels.traced.operations import Factors, Gradients
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.taps import Reading, Site, factored
from jaxntk.kernels.traced.weights import Constant, Data, Node, Root, Value, root_node


@dataclass(frozen=True)
class Use:
    """One place of the program where a parameter meets data.

    Args:
        operation: that joins them.
        where: the way to it.
        looped: whether several steps of a loop use the same entries.
        leading: lengths of the loops that took the parameter apart.
        alone: whether it is the parameter itself, or a slice of it, that was followed there.
        gradients: the factor form of its gradients there, if they have one.
        steps: lengths of all loops around it.
        factors: the shape of that form, if it may be joined with that of other uses.
    """

    operation: str
    where: Where
    looped: bool
    leading: tuple[int, ...]
    alone: bool
    gradients: Gradients | None
    steps: tuple[int, ...]
    factors: FactorShape | None


@dataclass
class Survey:
    """What was found about each parameter that enters.

    Args:
        uses: of each.
        pushed: those that became part of an array of another level.
    """

    uses: dict[int, dict[Where, Use]] = field(default_factory=dict)
    pushed: set[int] = field(default_factory=set)

    def site(
        self,
        site: Site,
        where: Where,
        loops: int,
        steps: tuple[int, ...],
        data: list[Any],
        outs: list[Any],
    ) -> None:
        """Notes a site for each of its roots."""
        one = [jnp.expand_dims(each, 0) for each in data]
        cts = [jnp.expand_dims(each, 0) for each in outs]
        gradients = factored(site, one, cts)
        factors = factor_shape(site, gradients)
        if gradients is not None:
            # Its functions hold arrays of this trace; how large they are is all that is asked.
            gradients = Gradients(_not_kept, gradients.tokens, gradients.size)
        for root in site.roots:
            for key in root.keys:
                use = Use(
                    site.eqn.primitive.name,
                    where,
                    loops > root.depth,
                    root.leading,
                    not root.derived,
                    gradients,
                    steps,
                    factors,
                )
                # By the way to it, as JAX may trace the body of a loop twice.
                self.uses.setdefault(key, {})[where] = use

    def push(self, node: Node) -> None:
        """Notes the parameters that became part of an array."""
        for root in node.roots:
            self.pushed.update(root.keys)

    def reading(self, key: int) -> Reading | None:
        """Returns how a parameter is read off; None if the outputs do not depend on it."""
        uses = list(self.uses.get(key, {}).values())
        if not uses:
            return None
        plain = key not in self.pushed and all(use.alone and not use.looped for use in uses)
        alike = len({use.leading for use in uses}) == 1
        once = all(_exclusive(a.where, b.where) for at, a in enumerate(uses) for b in uses[:at])
        if plain and alike and once:
            return Reading.KERNEL
        return Reading.FACTORS if self._may_join(key) else Reading.GRADIENT

    def _may_join(self, key: int) -> bool:
        """Tells whether the factors of all uses of a parameter are there, and are not too large."""
        uses = list(self.uses[key].values())
        if key in self.pushed or not all(use.alone and not use.leading for use in uses):
            return False
        shapes = [use.factors for use in uses if use.factors is not None]
        if len(shapes) < len(uses):
            return False
        # Of every step of a loop: what is held, against what would be added up.
        times = [math.prod(use.steps) for use in uses]
        entries = (shapes[0].length or shapes[0].left[-1]) * shapes[0].right[-1]
        held = sum(t * shape.numbers for t, shape in zip(times, shapes, strict=True))
        return held <= sum(times) * entries

    def leading(self, key: int) -> tuple[int, ...]:
        """Returns the lengths of the loops that take a parameter apart before it is read."""
        if self.reading(key) is not Reading.KERNEL:
            return ()
        return next(iter(self.uses[key].values())).leading

    def factors(self, key: int) -> list[tuple[FactorShape, tuple[Any, ...]]]:
        """Returns the factors of all uses of a parameter, as shapes of one example."""
        return [
            (
                use.factors,
                tuple(jax.ShapeDtypeStruct((1, *use.steps, *s), jnp.float32) for s in both),
            )
            for use in self.uses[key].values()
            if use.factors is not None and (both := use.factors[:2])
        ]

    def why_gradient(self, key: int) -> str:
        """Says why the kernel of a parameter is not read off where it is used."""
        uses = list(self.uses.get(key, {}).values())
        if key in self.pushed or not all(use.alone for use in uses):
            return "becomes part of another array inside a loop or branch"
        if any(use.looped for use in uses):
            return "used by every step of a loop"
        return f"used {len(uses)} times"


def _not_kept() -> Factors:
    raise NotImplementedError("a survey keeps no arrays")


def _exclusive(first: Where, second: Where) -> bool:
    """Tells whether only one of two sites runs: they part at branches of one choice."""
    for a, b in zip(first, second, strict=False):
        if a != b:
            both = isinstance(a, tuple) and isinstance(b, tuple)
            return both and a[0] == b[0] == "branch"
    return False


def interpret(
    program: Program,
    interpreter: Interpreter,
    roots: Sequence[Root],
    others: Sequence[Any],
    example: Sequence[Any],
) -> Any:
    """Runs a program on roots, constants and one example; returns its outputs."""
    inputs: list[Value] = [
        *map(root_node, roots),
        *map(Constant, others),
        *map(Data, example),
    ]
    (out,) = interpreter.run_open(program.jaxpr, program.consts, inputs)
    return interpreter.data(out, ("outputs",))


def run_program(program: Program, arrays: Sequence[Any]) -> Any:
    """Runs a program as it is, without taps."""
    interpreter = Interpreter(None, None, None, {})
    inputs: list[Value] = list(map(Constant, arrays))
    (out,) = interpreter.run_open(program.jaxpr, program.consts, inputs)
    return interpreter.data(out, ())


def survey(program: Program) -> Survey:
    """Finds the uses of every parameter that enters, from shapes alone.

    Args:
        program: of one example.

    Returns:
        What was found.
    """
    found = Survey()
    avals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in program.jaxpr.invars]

    def run(tag: Any, arrays: list[Any]) -> Any:
        entering = arrays[: program.entering]
        others = arrays[program.entering : program.entering + program.others]
        example = arrays[program.entering + program.others :]
        interpreter = Interpreter(None, tag, found, CONTROL_FLOW)
        roots = [Root((key,), value) for key, value in enumerate(entering)]
        return interpret(program, interpreter, roots, others, example)

    named = program.axis and [program.axis]
    jax.make_jaxpr(run, axis_env=named)(jax.ShapeDtypeStruct((), jnp.float32), avals)
    return found
