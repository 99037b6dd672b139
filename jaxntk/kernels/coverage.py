"""Which parameters of a function the Gram rules cover, found from shapes before anything runs.

The function is traced once with a marker beside every parameter, where its place would be. A rule
that uses the marker covers the parameter if, in the traced program,

* the parameter is used exactly once, and the marker exactly once, side by side. A weight that two
  layers share has a gradient with two terms, whose cross terms a rule does not see;
* neither enters a loop as a constant, which is the same sharing in disguise;
* the layer's output has the examples on its first axis, and nothing mapped over it;
* nothing in the function puts the examples in another order;
* the rule is ours: a function with a derivative of its own (``jax.custom_vjp``) hides its layers.

Branches of a switch count as one use: only one of them runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from flax import traverse_util
from jax.extend import core as jax_core
from jaxtyping import Array

from jaxntk.errors import InputError
from jaxntk.kernels.outputs import ApplyFn
from jaxntk.kernels.parameters import Path, Places, by_path, is_real, named_paths
from jaxntk.networks.gram_rules import GRAM_RULE
from jaxntk.networks.layers import PLACE_SUFFIX
from jaxntk.networks.linen_gram import linen_rules

PROBE_BATCH = 1009
"""Examples in the traced batch: a prime that is no other length of a usual network."""

NO_RULE = "no Gram rule for the layer that uses it"
SHARED = "used more than once"
LOOPED = "used by every step of a loop"
NOT_BY_EXAMPLE = "its layer does not have the examples on the first axis"
CONFUSED = "the function fails with places beside its parameters"
REORDERED = "the function changes the order of the examples"
TRANSFORMED = "changed before its layer uses it"
NOT_NAMED = "not in a nested dictionary of named parameters"
NOT_REAL = "not a real floating-point array"

RENAMES = ("convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose")
"""Operations through which a parameter stays itself."""

WEIGHT_USES = ("add", "conv_general_dilated", GRAM_RULE, "dot_general", "gather", "mul")
"""Operations by which a layer applies a weight, and in which it is linear."""

OWN_DERIVATIVES = ("custom_jvp_call", "custom_vjp_call")
"""Functions whose derivative is not that of what is inside them."""


@dataclass(frozen=True)
class Coverage:
    """What the Gram rules can do for a function.

    Args:
        places: the covered parameters, with the axes that loops stack in front of them.
        uncovered: for each parameter that the rules do not cover, why.
        unused: parameters that the outputs do not depend on; their kernel is zero.
    """

    places: Places
    uncovered: Mapping[Path, str]
    unused: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether the Gram rules alone give the kernel."""
        return not self.uncovered

    def __str__(self) -> str:
        lines = [f"{len(self.places.leading)} parameters with a Gram rule"]
        lines += [f"{'/'.join(path)}: {why}" for path, why in self.uncovered.items()]
        return "\n".join(lines)


def gram_coverage(apply_fn: ApplyFn, params: Any, x: Array | jax.ShapeDtypeStruct) -> Coverage:
    """Finds out which parameters the Gram rules cover.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters, or their shapes; a nested dictionary, as Flax makes it.
        x: a batch of inputs, or its shape.

    Returns:
        The covered parameters and, for the others, the reason.

    Raises:
        InputError: a layer couples examples or drops out at random.

    Example:
        >>> import flax.linen as nn
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((4, 3))
        >>> variables = nn.Dense(2).init(jax.random.key(0), x)
        >>> apply_fn = lambda params, x: nn.Dense(2).apply({"params": params}, x)
        >>> sorted(gram_coverage(apply_fn, variables["params"], x).places.leading)
        [('bias',), ('kernel',)]
    """
    if not is_named(params):
        return Coverage(Places({}), dict.fromkeys(named_paths(params), NOT_NAMED), ())
    flat = by_path(jax.eval_shape(lambda params: params, params))
    real = {p: leaf for p, leaf in flat.items() if is_real(leaf)}
    found = _trace(apply_fn, flat, real, x)
    if isinstance(found, str):
        reasons = {path: found if path in real else NOT_REAL for path in flat}
        return Coverage(Places({}), reasons, ())
    values, batch = found
    leading: dict[Path, tuple[int, ...]] = {}
    uncovered = dict.fromkeys(set(flat) - set(real), NOT_REAL)
    unused = []
    for path, leaf in real.items():
        own, mark = values[path], values[marker(path)]
        if not leaf.size or (not own.uses and not mark.uses):
            unused.append(path)
        elif why := _fault(own, mark, batch):
            uncovered[path] = why
        else:
            leading[path] = tuple(leaf.shape[: own.uses[0].stacked])
    return Coverage(Places(leading), uncovered, tuple(unused))


def is_named(params: Any) -> bool:
    """Tells whether parameters are a nested dictionary of arrays, as Flax Linen has them.

    Args:
        params: a tree.

    Returns:
        Whether every array has a path of strings.
    """
    if not isinstance(params, Mapping):
        return False
    flat: Any = traverse_util.flatten_dict(dict(params))
    # Flax NNX has mappings too, of boxes with an array inside.
    named = all(isinstance(name, str) for path in flat for name in path)
    return named and jax.tree_util.all_leaves(flat.values())


def marker(path: Path) -> Path:
    """Returns the path of a parameter's place.

    Args:
        path: of the parameter.

    Returns:
        The path of the leaf beside it.
    """
    return (*path[:-1], path[-1] + PLACE_SUFFIX)


@dataclass(frozen=True)
class _Use:
    """One operation that uses a value: where it is, and what it is like."""

    primitive: str
    scope: tuple[int, ...]
    looped: bool
    stacked: int
    mixed: bool
    lengths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Value:
    """A parameter or marker on its way through the program.

    Args:
        path: its name.
        scope: the operations that it is inside of.
        looped: whether every step of a loop has it.
        stacked: loops that took it apart along its first axis.
        moved: whether its axes are other ones than at the start.
        mixed: whether a loop took it apart after they were moved.
        uses: the operations that use it.
        branches: for each switch that it enters, how many operations of each branch use it.
    """

    path: Path
    scope: tuple[int, ...] = ()
    looped: bool = False
    stacked: int = 0
    moved: bool = False
    mixed: bool = False
    uses: list[_Use] = field(default_factory=list)
    branches: list[tuple[int, ...]] = field(default_factory=list)

    def enter(self, eqn: int, *, looped: bool = False, stacked: int = 0) -> "_Value":
        return replace(
            self,
            scope=(*self.scope, eqn),
            looped=self.looped or looped,
            stacked=self.stacked + stacked,
            mixed=self.mixed or bool(self.moved and stacked),
        )


def _fault(own: _Value, mark_value: _Value, batch: int) -> str | None:
    if not mark_value.uses:
        return NO_RULE
    # A branch may use the weight without the rule that another branch has for it.
    if mark_value.branches and own.branches != mark_value.branches:
        return NO_RULE
    if len(own.uses) != 1 or len(mark_value.uses) != 1:
        return SHARED
    (use,), (mark,) = own.uses, mark_value.uses
    if use.looped or mark.looped:
        return LOOPED
    if use.mixed or mark.mixed:
        return TRANSFORMED
    if mark.primitive == "optimization_barrier":
        return NOT_BY_EXAMPLE
    # A layer may apply its weight inside a function of its own, as Embed does.
    inside = use.scope[: len(mark.scope)] == mark.scope and use.stacked == mark.stacked
    if mark.primitive in OWN_DERIVATIVES:
        return NO_RULE
    if not inside or use.primitive not in WEIGHT_USES or mark.primitive != GRAM_RULE:
        return TRANSFORMED
    # Where two axes are as long as the batch, nobody knows which of them it is.
    unclear = batch != PROBE_BATCH and mark.lengths.count(batch) > 1
    return None if mark.lengths[:1] == (batch,) and not unclear else NOT_BY_EXAMPLE


def _trace(
    apply_fn: ApplyFn, flat: Mapping[Path, Any], real: Mapping[Path, Any], x: Any
) -> tuple[dict[Path, "_Value"], int] | str:
    """Finds each leaf with its uses, and the batch size; or why there is no rule for any."""
    marked = {**flat, **{marker(path): leaf for path, leaf in real.items()}}
    try:
        closed, batch = _traced(apply_fn, marked, x)
    except InputError:
        raise
    except Exception as error:
        # A wrapper that reads all leaves of a layer, as WeightNorm does, stumbles over markers.
        # What the function itself has to say is raised here.
        _traced(apply_fn, flat, x)
        return f"{CONFUSED} ({type(error).__name__})"
    if _reorders(closed.jaxpr, batch):
        return REORDERED
    values = [_Value(path) for path in marked]
    _follow(closed.jaxpr, [*values, None])
    return {value.path: value for value in values}, batch


def _traced(
    apply_fn: ApplyFn, leaves: Mapping[Path, Any], x: Any
) -> tuple[jax_core.ClosedJaxpr, int]:
    """Traces the function; returns the program, and the batch size."""

    def program(values: list[Array], x: Array) -> Array:
        tree = traverse_util.unflatten_dict(dict(zip(leaves, values, strict=True)))
        with linen_rules(x.shape[0]):
            return apply_fn(tree, x)

    def trace(batch: int) -> jax_core.ClosedJaxpr:
        probe = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
        return jax.make_jaxpr(program)(list(leaves.values()), probe)

    try:
        return trace(PROBE_BATCH), PROBE_BATCH
    except (TypeError, ValueError):
        # The function takes batches of one size only, which then has to do.
        return trace(x.shape[0]), x.shape[0]


def _follow(jaxpr: jax_core.Jaxpr, values: list[_Value | None]) -> None:
    """Follows values that are the inputs of a program to the operations that use them."""
    known = {
        var: value for var, value in zip(jaxpr.invars, values, strict=True) if value is not None
    }
    for index, eqn in enumerate(jaxpr.eqns):
        inputs = [None if isinstance(v, jax_core.Literal) else known.get(v) for v in eqn.invars]
        if not any(inputs):
            continue
        name = eqn.primitive.name
        if name in RENAMES and inputs[0]:
            moved = inputs[0].moved or name not in ("convert_element_type", "copy")
            known[eqn.outvars[0]] = replace(inputs[0], moved=moved)
        elif name == "cond":
            _follow_branches(eqn, index, inputs)
        elif name in OWN_DERIVATIVES or not (inner := list(_programs(eqn, index, inputs))):
            name = GRAM_RULE if _is_gram_rule(eqn) else name
            aval: Any = eqn.outvars[0].aval
            for value in filter(None, inputs):
                use = _Use(name, value.scope, value.looped, value.stacked, value.mixed, aval.shape)
                value.uses.append(use)
        else:
            for program, passed in inner:
                _follow(program, passed)


def _is_gram_rule(eqn: Any) -> bool:
    """Tells one of our rules by the name that it gives its result."""
    return any(
        inner.primitive.name == "name" and inner.params["name"] == GRAM_RULE
        for program in _inside(eqn)
        for inner in program.eqns
    )


def _inside(eqn: Any) -> list[jax_core.Jaxpr]:
    # JAX 0.12 has no closed jaxprs any more; a plain one then names itself.
    return [getattr(each, "jaxpr", each) for each in jax_core.jaxprs_in_params(eqn.params)]


def _reorders(jaxpr: jax_core.Jaxpr, batch: int) -> bool:
    """Tells whether any operation moves entries along an axis as long as the batch."""
    return any(
        batch in _moved_along(eqn) or any(_reorders(inner, batch) for inner in _inside(eqn))
        for eqn in jaxpr.eqns
    )


def _moved_along(eqn: Any) -> list[int]:
    """Lists the lengths of the axes along which an operation changes the order."""
    lengths = eqn.invars[0].aval.shape if eqn.invars else ()
    axes: tuple[int, ...] = ()
    match eqn.primitive.name:
        case "rev":
            axes = eqn.params["dimensions"]
        case "sort" | "concatenate":
            # Parts put together, as in a roll, are as long as the batch in what comes out.
            lengths, axes = eqn.outvars[0].aval.shape, (eqn.params["dimension"],)
        case "gather":
            axes = eqn.params["dimension_numbers"].start_index_map
    return [lengths[axis] for axis in axes]


def _follow_branches(eqn: Any, index: int, inputs: list[_Value | None]) -> None:
    """Follows into every branch; what several branches use counts as often as in the busiest."""
    for value in filter(None, dict.fromkeys(inputs[1:])):
        found: list[list[_Use]] = []
        for branch in eqn.params["branches"]:
            inside = replace(value, scope=(*value.scope, index), uses=[])
            passed = [inside if each is value else None for each in inputs[1:]]
            _follow(branch.jaxpr, passed)
            found.append(inside.uses)
        value.branches.append(tuple(len(uses) for uses in found))
        value.uses.extend(max(found, key=len))


def _programs(
    eqn: Any, index: int, inputs: list[_Value | None]
) -> Iterator[tuple[jax_core.Jaxpr, list[_Value | None]]]:
    """Yields the programs inside an operation, with the values that become their inputs."""
    if eqn.primitive.name == "scan":
        body, looped = eqn.params["jaxpr"].jaxpr, eqn.params["length"] > 1
        passed = []
        for value, outer, inner in zip(inputs, eqn.invars, body.invars, strict=True):
            # A step gets a slice of what is scanned over, and the whole of everything else. (How
            # many inputs are of which kind is told in other words by each series of JAX.)
            sliced = len(inner.aval.shape) < len(outer.aval.shape)
            step = value and value.enter(index, looped=looped and not sliced, stacked=int(sliced))
            passed.append(step)
        yield body, passed
    elif eqn.primitive.name == "while":
        heads, bodies = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        loop = [value and value.enter(index, looped=True) for value in inputs]
        yield eqn.params["cond_jaxpr"].jaxpr, loop[:heads] + loop[heads + bodies :]
        yield eqn.params["body_jaxpr"].jaxpr, loop[heads:]
    else:
        inside = [value and value.enter(index) for value in inputs]
        for parameter in eqn.params.values():
            program = getattr(parameter, "jaxpr", parameter)
            if isinstance(program, jax_core.Jaxpr) and len(program.invars) == len(inputs):
                yield program, inside
