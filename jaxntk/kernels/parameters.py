"""Which parameters enter a kernel.

The neural tangent kernel is a sum over parameters, so leaving some out changes it. Parameters are
named by their path in the Flax collection ``params``, for example ``("stem", "kernel")``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxntk.errors import InputError, did_you_mean

Path = tuple[str, ...]
ParameterChoice = Literal["lga", "all"] | Callable[[Path], bool]


class Places(NamedTuple):
    """Where the kernels of a network's parameters are read off.

    Args:
        leading: for each path (or number), the axes in front of a parameter's own: ``(cells,)`` for
            parameters stacked by a scan, else ``()``.
    """

    leading: Mapping[Any, tuple[int, ...]]


def enters_lga(path: Path) -> bool:
    """Tells whether the official LGA code lets a parameter enter its kernel.

    It takes every weight, that is convolution kernels and normalisation scales, no bias, and
    nothing of the classifier, however deep it stands (Mok et al., CVPR 2022, function
    ``compute_others``).

    Args:
        path: of the parameter.

    Returns:
        Whether it enters.

    Example:
        >>> enters_lga(("stem", "kernel")), enters_lga(("net", "classifier", "kernel"))
        (True, False)
    """
    return path[-1] in ("kernel", "scale") and "classifier" not in path[:-1]


def predicate(choice: ParameterChoice | str) -> Callable[[Path], bool]:
    """Returns the rule that a choice of parameters names.

    Args:
        choice: ``"lga"`` (:func:`enters_lga`), ``"all"``, or a rule of one's own on the path.

    Returns:
        The rule.

    Raises:
        InputError: the name is unknown.
    """
    if callable(choice):
        return choice
    rules: dict[str, Callable[[Path], bool]] = {"lga": enters_lga, "all": lambda path: True}
    if not isinstance(choice, str) or choice not in rules:
        cure = f"choose lga, all or a function of the path{did_you_mean(str(choice), rules)}"
        raise InputError("parameters", repr(choice), cure)
    return rules[choice]


def by_path(params: Any) -> dict[Path, Any]:
    """Returns the leaves of any tree by their path.

    Args:
        params: the parameters.

    Returns:
        One entry a leaf.

    Example:
        >>> by_path({"stem": {"kernel": 1}})
        {('stem', 'kernel'): 1}
    """
    return dict(zip(named_paths(params), jax.tree.leaves(params), strict=True))


def with_leaves(params: Any, changed: Mapping[Path, Any]) -> Any:
    """Returns the same tree, of the same types and with its empty nodes, with some leaves changed.

    Args:
        params: the parameters.
        changed: the new leaves, by their path.

    Returns:
        The tree.

    Example:
        >>> with_leaves({"a": 1, "empty": {}, "b": 2}, {("b",): 3})
        {'a': 1, 'b': 3, 'empty': {}}
    """
    leaves, tree = jax.tree.flatten(params)
    paths = named_paths(params)
    return jax.tree.unflatten(
        tree, [changed.get(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]
    )


def named_paths(tree: Any) -> list[Path]:
    """Names the leaves of any tree, such as the state of a Flax NNX model.

    Args:
        tree: the parameters.

    Returns:
        A path for each leaf, in the order of the leaves: keys, positions and attributes on the way
        to it, without the box that NNX or Flax puts around an array. A tree that is one array has
        no way to go: its name is ``params``.

    Example:
        >>> named_paths([{"kernel": 1}, 2])
        [('0', 'kernel'), ('1',)]
        >>> named_paths(1)
        [('params',)]
    """
    found = [path for path, _ in jax.tree.leaves_with_path(tree)]
    if found == [()]:
        return [("params",)]
    paths = [
        tuple(jax.tree_util.keystr((key,), simple=True) for key in _unboxed(path)) for path in found
    ]
    inner = {path[:at] for path in paths for at in range(len(path))}
    # A 0 and a "0" side by side have one name.
    if len(set(paths)) < len(paths) or inner & set(paths):
        return [(jax.tree_util.keystr(path),) for path in found]
    return paths


def _unboxed(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leaves out the attribute by which NNX and Flax's partitioning box an array."""
    boxed = len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value")
    return path[:-1] if boxed else path


def is_real(leaf: Any) -> bool:
    """Tells whether a leaf is floating-point, so that a kernel can take its derivative.

    Args:
        leaf: an array, its shape and dtype, or a number.

    Returns:
        Whether; integers, truth values, random keys and complex numbers are not.

    Example:
        >>> is_real(1.0), is_real(jnp.ones(2)), is_real(3), is_real(jax.random.key(0))
        (True, True, False, False)
    """
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def split_real(params: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Parts the leaves that have derivatives from those that are held constant.

    Args:
        params: any tree.

    Returns:
        The floating-point leaves, and the function that puts such leaves into the tree's places
        beside the others.

    Raises:
        InputError: a leaf is complex.

    Example:
        >>> leaves, joined = split_real({"steps": 7, "weights": 0.5})
        >>> leaves, joined([1.5])
        ([0.5], {'steps': 7, 'weights': 1.5})
    """
    refuse_complex(params)
    leaves, tree = jax.tree.flatten(params)
    places = [place for place, leaf in enumerate(leaves) if is_real(leaf)]

    def joined(real: Sequence[Any]) -> Any:
        every = list(leaves)
        for place, leaf in zip(places, real, strict=True):
            every[place] = leaf
        return jax.tree.unflatten(tree, every)

    return [leaves[place] for place in places], joined


def refuse_complex(params: Any) -> None:
    """Refuses complex parameters, of which there is no one tangent kernel.

    Args:
        params: any tree.

    Raises:
        InputError: a leaf is complex.
    """
    for path, leaf in zip(named_paths(params), jax.tree.leaves(params), strict=True):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            cure = "give its real and its imaginary part as two parameters"
            raise InputError("params", f"{'/'.join(path)} of dtype {dtype}", cure)


def select(places: Places, choice: ParameterChoice) -> Places:
    """Selects, among parameters, those that enter a kernel.

    Args:
        places: all parameters that could enter.
        choice: see :func:`predicate`.

    Returns:
        Those that do.

    Raises:
        InputError: no parameter enters.
    """
    rule = predicate(choice)
    chosen = {path: leading for path, leading in places.leading.items() if rule(path)}
    if not chosen:
        if not places.leading:
            raise InputError("params", "no parameter", "give at least one floating-point array")
        known = ", ".join("/".join(path) for path in list(places.leading)[:3])
        raise InputError("parameters", "a rule no path satisfies", f"paths look like {known}")
    return Places(chosen)
