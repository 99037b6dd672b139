"""Runs the program of one example, and puts taps where data and weights meet.

The interpreter knows what each value depends on (:mod:`.weights`): constants and data go through
operations as they are; operations on weights alone extend the graph of what was done to them; an
operation on both is a :class:`~.taps.Site`. Anything may be a site, a product or a function with a
derivative of its own: its gradients are those that JAX has for it, whatever it does inside. Calls,
checkpoints, branches and loops are entered (:mod:`.control_flow`), so that the sites are small.

The same interpreter surveys a program (``options`` of None): then it reports sites and taps
nothing.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core as jax_core

from jaxntk.kernels.traced.kinds import (
    INLINED,
    OWN_DERIVATIVES,
    REFERENCES,
    holds_statistics,
    inner_program,
    is_over_examples,
    plain,
)
from jaxntk.kernels.traced.taps import Options, Place, Reading, Site, pushed, site_of, tap
from jaxntk.kernels.traced.weights import Constant, Data, Node, Root, Value, derived_node
from jaxntk.networks.fast_convolution import fast_convolution, is_fast

PRODUCTS = frozenset(["conv_general_dilated", "dot_general"])
"""Operations that take most of the time."""

Where = tuple[Any, ...]
"""The way to an operation: numbers of operations, and of branches, from the outside in."""


@runtime_checkable
class Observer(Protocol):
    """What is told of the sites and of the values made of weights that a program has."""

    def site(
        self,
        site: Site,
        where: Where,
        loops: int,
        steps: tuple[int, ...],
        data: list[Any],
        outs: list[Any],
    ) -> None:
        """Is told of a site, the loops around it (of several steps; lengths of all), its arrays."""

    def push(self, node: Node) -> None:
        """Is told that a value made of weights enters or leaves a loop or branch as one array."""


class Interpreter:
    """Interprets programs.

    Args:
        options: of the taps; None for a survey.
        tag: a zero of the example, which makes data of what depends on no example.
        observer: what is told of sites.
        rules: the operations that are entered.

    Attributes:
        loops: how many loops of several steps are around what runs.
        steps: the lengths of all loops around it, from the outside in.
        joined: by parameter and site, the place of the factors that are read there.
        taken: whether the example takes the branch that runs; None where all do.
        controlled: whether all that runs stands inside a loop or branch.
        checkpointed: whether what runs is run again on the way back.
        calls: programs that are called again and again, compiled as one.
    """

    def __init__(
        self,
        options: Options | None,
        tag: Any,
        observer: Observer | None,
        rules: "dict[str, Rule]",
    ) -> None:
        self.options = options
        self.tag = tag
        self.observer = observer
        self.rules = rules
        self.loops = 0
        self.steps: tuple[int, ...] = ()
        self.joined: dict[tuple[int, Where], tuple[Any, Any]] = {}
        self.taken: Any = None
        self.controlled = False
        self.checkpointed = False
        self.calls: dict[Hashable, Callable[..., list[Any]]] = {}

    def run(self, program: Any, inputs: Sequence[Value], where: Where = ()) -> list[Value]:
        """Runs a program.

        Args:
            program: closed, or open without constants.
            inputs: one value an input.
            where: the way to it.

        Returns:
            One value a result.
        """
        return self.run_open(*plain(program), inputs, where)

    def run_open(
        self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value], where: Where = ()
    ) -> list[Value]:
        """Runs a program whose constants are given beside it."""
        known: dict[Any, Value] = {}
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            known[var] = Constant(const)
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Value:
            return Constant(var.val) if isinstance(var, jax_core.Literal) else known[var]

        for number, eqn in enumerate(jaxpr.eqns):
            outs = self._step(eqn, [read(var) for var in eqn.invars], (*where, number))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def _step(self, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
        name = eqn.primitive.name
        if self.rules and name in REFERENCES:
            raise NotImplementedError(f"{name}, an array that is changed in place")
        weighed = [isinstance(value, Node) for value in inputs]
        chosen = name == "cond" and name in self.rules and isinstance(inputs[0], Data)
        if is_over_examples(eqn):
            return self._statistics(eqn, inputs, where)
        if not any(weighed) and not chosen:
            if self._may_hold_statistics(eqn, inputs):
                return self._entered(eqn, inputs, where)
            outs = self._binder(eqn, where)([value.value for value in inputs])
            if not any(isinstance(value, Data) for value in inputs):
                return [Constant(out) for out in outs]
            return [Data(out) for out in self._own(eqn, outs)]
        if name in INLINED and not (self.rules and any(isinstance(v, Data) for v in inputs)):
            return self.run(inner_program(eqn), inputs, where)
        if not any(isinstance(value, Data) for value in inputs):
            return derived_node(eqn, self._binder(eqn, where), inputs)  # pyright: ignore[reportArgumentType]
        rule = self.rules.get(name)
        if rule is not None:
            return rule(self, eqn, inputs, where)
        return self.tapped(eqn, inputs, where)

    def _statistics(self, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
        """Takes a statistic of the batch, which is held constant."""
        if any(isinstance(value, Node) for value in inputs):
            raise NotImplementedError(f"{eqn.primitive.name}, over examples, of a parameter")
        values = lax.stop_gradient([value.value for value in inputs])
        outs = self._binder(eqn, where)(values)
        if not any(isinstance(value, Data) for value in inputs):
            return [Constant(out) for out in outs]
        # The same for all: a weight that meets it would gather the cotangents of all examples.
        return [Data(out if self.options is None else _own_value(out, self.tag)) for out in outs]

    def _may_hold_statistics(self, eqn: Any, inputs: list[Value]) -> bool:
        """Tells whether a program inside an operation on data takes statistics of the batch."""
        asked = self.options is not None and self.options.statistics
        return asked and any(isinstance(v, Data) for v in inputs) and holds_statistics(eqn)

    def _entered(self, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
        """Enters an operation on data, so that the statistics inside are held constant."""
        rule = self.rules.get(eqn.primitive.name)
        if rule is None or eqn.primitive.name in OWN_DERIVATIVES:
            return self.tapped(eqn, inputs, where)
        return rule(self, eqn, inputs, where)

    def tapped(self, eqn: Any, inputs: list[Value], where: Where) -> list[Value]:
        """Applies an operation on data and weights, with a tap behind it."""
        if self._may_hold_statistics(eqn, inputs):
            raise NotImplementedError(f"{eqn.primitive.name} around a statistic of the batch")
        bind = self._binder(eqn, where)
        apply = self._narrowed(eqn, bind, where) if self._is_narrowed(eqn) else bind
        outs = self._own(eqn, apply([value.value for value in inputs]))
        site, data, leaves = site_of(eqn, bind, inputs)
        if self.observer is not None:
            self.observer.site(site, where, self.loops, self.steps, data, outs)
        if self.options is not None:
            places = [self._place(root, where) for root in site.roots]
            outs = tap(site, outs, data, leaves, self.options, places, self.taken)
        return [Data(self.if_taken(out)) for out in outs]

    def _binder(self, eqn: Any, where: Where) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """Returns the function that applies an operation to its operands."""
        return binder(eqn, controlled=self.is_controlled(where))

    def _is_narrowed(self, eqn: Any) -> bool:
        narrow = self.options is not None and self.options.narrow
        arrays = (*eqn.invars, *eqn.outvars)
        real = all(jnp.issubdtype(var.aval.dtype, jnp.floating) for var in arrays)
        return narrow and real and eqn.primitive.name in PRODUCTS

    def _narrowed(
        self, eqn: Any, bind: Callable[[Sequence[Any]], Sequence[Any]], where: Where
    ) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """Returns a product whose derivatives are products of the dtype of the kernel."""
        assert self.options is not None
        dtype = self.options.dtype
        below = self._binder(
            eqn.replace(params={**eqn.params, "preferred_element_type": dtype}), where
        )

        @jax.custom_vjp
        def product(values: Sequence[Any]) -> Sequence[Any]:
            return bind(values)

        def backward(values: Sequence[Any], cts: Sequence[Any]) -> tuple[list[Any]]:
            _, pull_back = jax.vjp(below, [value.astype(dtype) for value in values])
            (found,) = pull_back([ct.astype(dtype) for ct in cts])
            return ([a.astype(v.dtype) for a, v in zip(found, values, strict=True)],)

        product.defvjp(lambda values: (bind(values), values), backward)
        return product

    def is_controlled(self, where: Where) -> bool:
        """Tells whether an operation stands inside a loop or branch."""
        inside = bool(self.steps) or any(isinstance(step, tuple) for step in where)
        return self.controlled or inside

    def if_taken(self, value: Any) -> Any:
        """Returns a value whose cotangent is zero for examples that take another branch."""
        inexact = jnp.issubdtype(value.dtype, jnp.inexact)
        return value if self.taken is None or not inexact else _if_taken(self.taken, value)

    def _place(self, root: Root, where: Where) -> Any:
        """Returns where a root is read off at a site."""
        if root.place is None or root.place.reading is not Reading.FACTORS:
            return root.place
        return Place(Reading.FACTORS, self.joined[root.keys[0], where])

    def _own(self, eqn: Any, outs: Sequence[Any]) -> list[Any]:
        """Gives each example results of its own."""
        # Of several results some may be the same for all examples, as a weight that a function
        # passes on; their cotangents would be summed over the examples before a tap sees them.
        if self.options is None or not eqn.primitive.multiple_results:
            return list(outs)
        return [_own_value(out, self.tag) for out in outs]

    def data(self, value: Value, where: Where) -> Any:
        """Returns a value as data, with a tap if it is made of weights alone."""
        if not isinstance(value, Node):
            return value.value
        identity = _Identity(value)
        bind = identity.bind
        tagged = Data(self.tag)
        site, data, leaves = site_of(identity, bind, [value, tagged])
        outs = list(bind([value.value, self.tag]))
        if self.observer is not None:
            self.observer.site(site, where, self.loops, self.steps, data, outs)
        if self.options is not None:
            outs = tap(site, outs, data, leaves, self.options, None, self.taken)
        return outs[0]

    def pair(self, value: Value) -> tuple[Any, Any]:
        """Returns a weight as one array, and the place of its gradients."""
        if not isinstance(value, Node):
            raise NotImplementedError("a value that is no weight where one was expected")
        if self.observer is not None:
            self.observer.push(value)
        place = pushed(value, self.options)
        return value.value, self.zeros(value.value) if place is None else place.zeros

    def zeros(self, value: Any) -> Any:
        """Returns a place of a weight that is read nowhere, for each example; None in a survey."""
        if self.options is None:
            return None
        place = jnp.zeros(jnp.shape(value), self.options.dtype)
        return place + self.tag.astype(place.dtype)


def _own_value(out: Any, tag: Any) -> Any:
    """Returns a value as it is, computed from the example's zero."""
    if jnp.issubdtype(out.dtype, jnp.bool_):
        return jnp.logical_or(out, tag.astype(out.dtype))
    return out + tag.astype(out.dtype) if jnp.issubdtype(out.dtype, jnp.number) else out


class _Identity:
    """An operation that makes data of a weight: ``weight + 0``."""

    class primitive:
        """What the operation is called."""

        name = "identity"

    def __init__(self, node: Node) -> None:
        self.dtype = jnp.result_type(node.value)

    def bind(self, values: Sequence[Any]) -> list[Any]:
        """Returns the weight, for each example."""
        weight, tag = values
        return [weight + tag.astype(self.dtype)]


Rule = Callable[[Interpreter, Any, list[Value], Where], list[Value]]
"""Enters an operation that holds programs, some of whose inputs are weights and some data."""


@jax.custom_vjp
def _if_taken(taken: Any, value: Any) -> Any:
    return value


def _taken_forward(taken: Any, value: Any) -> tuple[Any, Any]:
    return value, taken


def _taken_backward(taken: Any, ct: Any) -> tuple[None, Any]:
    # Where a branch that was not taken has an infinite derivative, zero times it is no number.
    return None, jnp.where(taken, ct, jnp.zeros_like(ct))


_if_taken.defvjp(_taken_forward, _taken_backward)


def binder(eqn: Any, *, controlled: bool = False) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Returns the function that applies an operation to its operands.

    Args:
        eqn: the operation.
        controlled: whether it stands inside a loop or branch.

    Returns:
        ``operands -> results``.
    """
    if controlled and eqn.primitive.name == "conv_general_dilated" and is_fast(eqn.params):
        # Equal, and not slow on the way back.
        fast = fast_convolution(eqn.params)
        return lambda values: [fast(*map(jnp.asarray, values))]

    def bind(values: Sequence[Any]) -> Sequence[Any]:
        with eqn.ctx.manager:
            out = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
        return list(out) if eqn.primitive.multiple_results else [out]

    return bind
