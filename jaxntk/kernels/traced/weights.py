r"""Values of a program that depend on parameters alone, and how they came from them.

A :class:`Root` is a parameter, or a slice of one inside a loop. A :class:`Node` is one of the
graph of operations that lead from roots to a value :math:`w = T(\theta)`. The graph is kept, since
the gradient of an example with respect to the roots is :math:`\bar\theta_i = DT^T \bar w_i`. Where
T is one root in another order, possibly cut or times a number s, :math:`DT\,DT^T = s^2 I`, and a
kernel can be taken from the gradients of w as they are: its :class:`Layout` says so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Key = int
"""Number of a parameter among the leaves that enter."""

_serials = count()

RELABELLING = frozenset([
    "convert_element_type",
    "copy",
    "copy_p",
    "expand_dims",
    "name",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "transpose",
])
"""Operations that give entries of their input once at most, in another order."""

STRUCTURAL = RELABELLING | {"broadcast_in_dim"}
"""Operations whose derivative does not depend on what they are given, in any precision."""


@dataclass(frozen=True, eq=False)
class Root:
    """A parameter as one level of the program sees it.

    Args:
        keys: the parameters that it stands for: itself; several for a value made of several
            outside a loop.
        value: its value, the same for all examples.
        place: what it reads its kernel or gradients with; None while the program is surveyed.
        depth: loops of more than one step around the level where it appears.
        leading: lengths of the loops that took it apart, from the outside in.
        derived: whether it is a value made of parameters, rather than a parameter or a slice of it.
    """

    keys: tuple[Key, ...]
    value: Any
    place: Any = None
    depth: int = 0
    leading: tuple[int, ...] = ()
    derived: bool = False


class Layout(NamedTuple):
    r"""How a weight is made of one root by operations that move, cut, repeat or scale entries.

    Args:
        steps: the operations, in order; conversions of dtype are left out.
        scales: numbers that the entries were multiplied with, as nodes of the graph.
        isometric: whether no entry is repeated, so that :math:`DT\,DT^T` is a multiple of I.
    """

    steps: tuple[Callable[[Array], Array], ...] = ()
    scales: tuple["Node", ...] = ()
    isometric: bool = True


@dataclass(frozen=True, eq=False)
class Node:
    """One value of the graph: a root, a constant, or what an operation gives.

    Args:
        value: what it is here.
        roots: the roots it depends on.
        apply: ``(values of the inputs) -> all results of the operation``; None for a leaf.
        inputs: of the operation.
        index: which of its results this is.
        layout: how it came from one root, if by moving entries only.
        serial: nodes are numbered as they are made, so inputs come first.
    """

    value: Any
    roots: tuple[Root, ...] = ()
    apply: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    inputs: tuple["Node", ...] = ()
    index: int = 0
    layout: Layout | None = None
    serial: int = field(default_factory=lambda: next(_serials))


class Constant(NamedTuple):
    """A value that depends neither on examples nor on parameters."""

    value: Any


class Data(NamedTuple):
    """A value that depends on the example."""

    value: Any


Value = Constant | Data | Node
"""What a variable of the program holds; a :class:`Node` depends on parameters alone."""


def root_node(root: Root) -> Node:
    """Returns the node that is a root itself."""
    return Node(root.value, (root,), layout=Layout())


def is_bare(node: Node) -> bool:
    """Tells whether a node is a root itself."""
    return node.apply is None


def derived_node(
    eqn: Any,
    bind: Callable[[Sequence[Any]], Sequence[Any]],
    inputs: Sequence[Node | Constant],
) -> list[Value]:
    """Applies an operation to weights and constants."""
    nodes = tuple(i if isinstance(i, Node) else Node(i.value) for i in inputs)
    roots = tuple(dict.fromkeys(root for node in nodes for root in node.roots))
    outs = bind([node.value for node in nodes])
    values: list[Value] = []
    for index, out in enumerate(outs):
        if eqn.primitive.name == "stop_gradient" or not jnp.issubdtype(out.dtype, jnp.inexact):
            values.append(Constant(out))
            continue
        layout = _layout(eqn, nodes, index)
        values.append(Node(out, roots, bind, nodes, index, layout))
    return values


def _layout(eqn: Any, nodes: Sequence[Node], index: int) -> Layout | None:
    name = eqn.primitive.name
    weighed = [node for node in nodes if node.roots]
    aval = eqn.outvars[index].aval
    if len(weighed) != 1 or weighed[0].layout is None or not _is_real(aval):
        return None
    (node,), before = weighed, weighed[0].layout
    if name in ("convert_element_type", "copy", "copy_p", "name"):
        return before
    if name in STRUCTURAL and len(nodes) == 1:
        same = name in RELABELLING or math.prod(node.value.shape) == aval.size
        step = partial(_one_result, eqn.primitive, dict(eqn.params), index)
        return before._replace(steps=(*before.steps, step), isometric=before.isometric and same)
    if name == "neg":
        return before._replace(scales=(*before.scales, Node(np.float32(-1.0))))
    others = [other for other in nodes if other is not node]
    if name == "mul" and len(others) == 1 and jnp.shape(others[0].value) == ():
        return before._replace(scales=(*before.scales, others[0]))
    return None


def _is_real(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.floating)


def _one_result(primitive: Any, params: Mapping[str, Any], index: int, value: Array) -> Array:
    out = primitive.bind(value, **params)
    return out[index] if primitive.multiple_results else out


def leaves_of(nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Lists the ancestors of nodes.

    Returns:
        The leaves (roots and constants), and the operations, each after its inputs.
    """
    seen: dict[int, Node] = {}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node.serial not in seen:
            seen[node.serial] = node
            pending.extend(node.inputs)
    ordered = [seen[serial] for serial in sorted(seen)]
    return (
        [node for node in ordered if node.apply is None],
        [node for node in ordered if node.apply is not None],
    )


def evaluator(nodes: Sequence[Node]) -> tuple[list[Node], Callable[[Sequence[Any]], list[Any]]]:
    """Returns the leaves of nodes, and the function from values of leaves to those of nodes.

    The function holds no array, so that it may run in another trace than this one.
    """
    leaves, inner = leaves_of(nodes)
    leaf_serials = [leaf.serial for leaf in leaves]
    steps = [
        (node.serial, node.apply, tuple(i.serial for i in node.inputs), node.index)
        for node in inner
    ]
    wanted = [node.serial for node in nodes]

    def evaluate(values: Sequence[Any]) -> list[Any]:
        known = dict(zip(leaf_serials, values, strict=True))
        for serial, apply, inputs, index in steps:
            assert apply is not None
            known[serial] = apply([known[i] for i in inputs])[index]
        return [known[serial] for serial in wanted]

    return leaves, evaluate


def pull_back_layout(
    layout: Layout, shape: tuple[int, ...], scales: Sequence[Any], gradient: Array
) -> Array:
    """Takes a gradient of a weight back to its root, in the gradient's own dtype.

    Args:
        layout: of the weight.
        shape: of the root.
        scales: the values of ``layout.scales``.
        gradient: with respect to the weight.

    Returns:
        The gradient with respect to the root.
    """

    def forward(root: Array) -> Array:
        for step in layout.steps:
            root = step(root)
        return root

    like = jax.ShapeDtypeStruct(shape, gradient.dtype)
    (back,) = jax.linear_transpose(forward, like)(gradient)
    for scale in scales:
        back = back * lax.convert_element_type(scale, back.dtype)
    return back
