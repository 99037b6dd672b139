"""What a user gives, made plain: a function of lists of arrays, with what enters told apart.

The tree of parameters is taken apart once and put together again as it was, whatever its type
(dictionaries, lists, ``FrozenDict``, the state of a Flax NNX model, a ``TrainState``), with its
empty nodes. Leaves that do not enter are held constant.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxntk.errors import FAILURES, InputError
from jaxntk.kernels.outputs import output_count
from jaxntk.kernels.parameters import (
    ParameterChoice,
    Path,
    Places,
    is_real,
    named_paths,
    refuse_complex,
    select,
)
from jaxntk.kernels.traced.program import Program, trace_example

STATISTICS = frozenset([
    "batch_stats",
    "moving_mean",
    "moving_var",
    "moving_variance",
    "running_mean",
    "running_var",
    "running_variance",
])
"""Names that running statistics go by."""


@dataclass(frozen=True, eq=False)
class Function:
    """A user's function of parameters, inputs and state, as one of lists of arrays.

    Args:
        call: ``(leaves that enter, the other leaves, state, batch) -> outputs (n, ...)``.
        entering: the leaves that enter the kernel.
        others: the leaves that are held constant.
        state: what is not differentiated, any tree.
        paths: of the leaves that enter.
        dtype: of kernels.
    """

    call: Callable[[Sequence[Any], Sequence[Any], Any, Any], Any]
    entering: list[Any]
    others: list[Any]
    state: Any
    paths: list[Path]
    dtype: jnp.dtype

    def outputs(self, entering: Sequence[Any], x: Any) -> Any:
        """Returns the outputs of a batch."""
        return self.call(entering, self.others, self.state, x)

    def count(self, x: Any) -> int:
        """Returns the number of outputs of one example, from shapes alone."""

        def outputs(given: Any, x: Any) -> Any:
            entering, others, state = given
            return self.call(entering, others, state, x)

        return output_count(outputs, (self.entering, self.others, self.state), x)


def function_of(
    apply_fn: Callable[..., Any],
    params: Any,
    state: Any,
    choice: ParameterChoice,
    pick: Callable[[Any], Any] | None,
) -> Function:
    """Takes apart what a user gives.

    Args:
        apply_fn: ``(params, x)`` or, with a state, ``(params, x, state)``, to outputs.
        params: any tree.
        state: any tree, or None.
        choice: which parameters enter.
        pick: takes one array from what ``apply_fn`` returns; None where it returns that.

    Returns:
        The function.

    Raises:
        InputError: something that is no array among the leaves, complex parameters, running
            statistics among the parameters, no parameter, or a choice that none satisfies.
    """
    refuse_non_arrays("params", params)
    refuse_non_arrays("state", state)
    refuse_complex(params)
    leaves, tree = jax.tree.flatten(params)
    paths = named_paths(params)
    real = {
        path: ()
        for path, leaf in zip(paths, leaves, strict=True)
        if is_real(leaf) and np.size(leaf)
    }
    chosen = select(Places(real), choice).leading
    if not callable(choice):
        _refuse_statistics(params, paths, chosen)
    enters = [path in chosen for path in paths]

    def call(entering: Sequence[Any], others: Sequence[Any], state: Any, x: Any) -> Any:
        moving, fixed = iter(entering), iter(others)
        whole = jax.tree.unflatten(tree, [next(moving) if each else next(fixed) for each in enters])
        out = apply_fn(whole, x) if state is None else apply_fn(whole, x, state)
        return out if pick is None else pick(out)

    entering = [leaf for leaf, each in zip(leaves, enters, strict=True) if each]
    return Function(
        call,
        [jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray) else leaf for leaf in entering],
        [leaf for leaf, each in zip(leaves, enters, strict=True) if not each],
        state,
        [path for path, each in zip(paths, enters, strict=True) if each],
        kernel_dtype(entering),
    )


def example_program(
    function: Function, x: Any, count: int | None = None, axis: str | None = None
) -> Program:
    """Traces a user's function of one example.

    Args:
        function: the function.
        x: a batch or its shape.
        count: outputs of one example in that batch; None to find out.
        axis: name of an axis over the examples, along which the function takes statistics; it then
            gives no outputs without one, and they are not compared.

    Returns:
        The program of one example.

    Raises:
        InputError: it takes batches of one size only, or gives as many outputs as that has.
    """

    def call(entering: Any, rest: Any, x: Any) -> Any:
        others, state = rest
        return function.call(entering, others, state, x)

    rest = (function.others, function.state)
    try:
        program = trace_example(call, function.entering, rest, x, axis)
    except InputError:
        raise
    except FAILURES as error:
        cure = (
            "let it take any number of examples, as gradients are those of single examples; or "
            "give examples='coupled'"
        )
        why = str(error).strip().splitlines()[:1]
        got = (
            f"a function that takes batches of {jax.tree.leaves(x)[0].shape[0]}, but not of 1 "
            f"({type(error).__name__}: {''.join(why)[:120]})"
        )
        raise InputError("apply_fn", got, cure) from error
    if axis is not None:
        return program
    count = function.count(x) if count is None else count
    if program.count != count:
        n = jax.tree.leaves(x)[0].shape[0]
        got = f"{count} outputs an example in a batch of {n}, and {program.count} alone"
        raise InputError("apply_fn", got, "give examples='coupled' if examples are to interact")
    return program


def kernel_dtype(params: Any) -> jnp.dtype:
    """Returns the dtype in which kernels are computed.

    Args:
        params: any tree.

    Returns:
        float64 if any floating-point leaf is, else float32: a sum in bfloat16 stops growing at 256
        times what is added.

    Example:
        >>> kernel_dtype({"w": jnp.ones(2, jnp.bfloat16), "steps": 3}).name
        'float32'
    """
    bits = [
        jnp.finfo(jnp.result_type(leaf)).bits for leaf in jax.tree.leaves(params) if is_real(leaf)
    ]
    return jnp.dtype("float64" if max(bits, default=32) > 32 else "float32")


def refuse_non_arrays(argument: str, tree: Any) -> None:
    """Refuses leaves that are neither arrays nor numbers.

    Args:
        argument: its name.
        tree: any tree.

    Raises:
        InputError: the first such leaf.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        try:
            # Names of dtypes and classes of numbers have a dtype too.
            found = None if isinstance(leaf, str | type) else jnp.result_type(leaf)
        except TypeError:
            found = None
        if found is None or found == np.dtype(object):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            got = f"{name or 'a tree that is one leaf'} of type {type(leaf).__name__}"
            cure = (
                "give arrays and numbers, and let apply_fn close over the rest, as "
                "equinox.partition(model, equinox.is_array) or nnx.split parts them"
            )
            raise InputError(argument, got, cure)


def _refuse_statistics(params: Any, paths: Sequence[Path], chosen: Mapping[Path, Any]) -> None:
    """Raises where statistics of batches would enter as if they were trained."""
    # A flat dictionary joins the names on the way by dots or slashes, or has tuples of them.
    found = [path for path in chosen if STATISTICS & set(re.split(r"\W+", "/".join(path)))]
    if not found and isinstance(params, Mapping) and "params" in params:
        found = [path for path in chosen if path[0] != "params"]
    inside = set(paths)
    found = found or [
        path
        for path in chosen
        if path[-1] in ("mean", "var") and {(*path[:-1], "mean"), (*path[:-1], "var")} <= inside
    ]
    boxes = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, nnx.BatchStat))
    if not found and any(isinstance(box, nnx.BatchStat) for box in boxes):
        found = [next(iter(chosen))]
    if found:
        cure = (
            "give the trained parameters alone (variables['params'], nnx.split(net, nnx.Param, "
            "...)) and the rest as state=, or say by parameters= which paths enter"
        )
        got = f"{'/'.join(found[0])}, which looks like a statistic of batches"
        raise InputError("params", got, cure)
