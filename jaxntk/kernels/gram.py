"""The kernel of every parameter by itself, as a function to be compiled by the caller.

:func:`~jaxntk.kernels.empirical.empirical_ntk` checks a function, compiles it and adds the kernels
of all parameters up. What scores many architectures with one compilation does these itself, and
knows what it differentiates.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxntk.errors import InputError
from jaxntk.kernels.function import Function, example_program, function_of
from jaxntk.kernels.layer_kernels import LayerKernels
from jaxntk.kernels.outputs import Outputs, check_outputs
from jaxntk.kernels.parameters import ParameterChoice, Places
from jaxntk.kernels.traced.contraction import Route, check_route
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import Survey, survey


class _Followed(NamedTuple):
    """A function whose parameters were followed to where they meet data."""

    function: Function
    program: Program
    found: Survey


def layer_kernels(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    outputs: Outputs,
    state: Any = None,
    parameters: ParameterChoice = "all",
    tile: int | None = None,
    route: Route | str = "auto",
    batch_axis: str | None = None,
) -> LayerKernels:
    r"""Returns the kernel of every chosen parameter.

    .. math:: \Theta^{(p)}_{ij} = \langle \partial f(x_i) / \partial p,
        \partial f(x_j) / \partial p \rangle

    To be called inside ``jax.jit``: nothing is compiled or checked here.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, or ``(params, x, state)`` where a state is
            given. What it gives for an example must not depend on the others, but for statistics
            along ``batch_axis``.
        params: the parameters, any tree of arrays.
        x: the inputs: an array or a tree of arrays, examples on the first axis.
        outputs: which outputs, and how combined; see :mod:`jaxntk.kernels.outputs`.
        state: what is not differentiated; any tree of arrays.
        parameters: ``all``, ``lga``, or which parameters enter, as a rule on their path.
        tile: rows computed at a time, to bound memory.
        route: how gradients are contracted; see :mod:`jaxntk.kernels.traced.contraction`.
        batch_axis: name of an axis over the examples, along which the function may take statistics
            of the batch (``jax.lax.pmean(moment, batch_axis)``). They are held constant. Not with a
            tile, nor for ``full``.

    Returns:
        For the path of each parameter that the outputs depend on an array
        ``(*leading axes, n, n)``; leading axes are those that a scan takes a stacked parameter
        apart along. For ``full`` every
        example gives C neighbouring rows and columns. In float64 where a parameter that enters is,
        else in float32, as are then all derivatives.

    Raises:
        InputError: an argument that is not among the choices, a tile or full outputs with a batch
            axis, or a function that the Gram rules do not know.

    Example:
        >>> def network(p, x):
        ...     return jnp.tanh(x @ p["hidden"]) @ p["head"]
        >>> params = {"hidden": jnp.ones((2, 3)), "head": jnp.ones((3, 1))}
        >>> found = layer_kernels(network, params, jnp.ones((4, 2)), outputs="sum")
        >>> {"/".join(path): kernel.shape for path, kernel in found.items()}
        {'head': (4, 4), 'hidden': (4, 4)}
    """
    check_outputs(outputs)
    check_route(route)
    if batch_axis is not None and (tile is not None or outputs == "full"):
        got = f"{batch_axis!r} with tile={tile}, outputs={outputs!r}"
        cure = "store the statistics of the batch first, and give them as state="
        raise InputError("batch_axis", got, cure)
    function, program, found = _follow(apply_fn, params, x, state, parameters, batch_axis)
    wide = jnp.finfo(program.out_dtype).bits > jnp.finfo(function.dtype).bits
    kernels = Kernels(program, found, outputs, route, function.dtype, narrow=wide)
    arrays = [*function.entering, *jax.tree.leaves((function.others, function.state))]
    leaves: list[Array] = jax.tree.leaves(x)
    with _told():
        if tile is None or tile >= len(leaves[0]):
            each = kernels.block(arrays, leaves)
        else:
            each = kernels.tiled(arrays, leaves, None, tile)
    return {function.paths[key]: kernel for key, kernel in each.items()}


def parameter_places(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    state: Any = None,
    parameters: ParameterChoice = "all",
    batch_axis: str | None = None,
) -> Places:
    """Lists the parameters that enter a kernel and that the outputs depend on.

    Args:
        apply_fn: as in :func:`layer_kernels`, as are all that follow.
        params: the parameters or their shapes.
        x: a batch of inputs or its shape.
        state: what is not differentiated, or its shapes.
        parameters: which enter.
        batch_axis: name of an axis over the examples.

    Returns:
        Their paths, with the axes that loops stack in front of them.

    Raises:
        InputError: an unknown choice, or one that no parameter satisfies.
    """
    function, _, found = _follow(apply_fn, params, x, state, parameters, batch_axis)
    return Places({
        path: found.leading(key)
        for key, path in enumerate(function.paths)
        if found.reading(key) is not None
    })


def _follow(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    state: Any,
    parameters: ParameterChoice,
    batch_axis: str | None,
) -> _Followed:
    """Traces a function of one example and finds where its parameters meet data."""
    function = function_of(apply_fn, params, state, parameters, None)
    program = example_program(function, x, axis=batch_axis)
    with _told():
        return _Followed(function, program, survey(program))


@contextmanager
def _told() -> Iterator[None]:
    """Says in one line what cannot be followed."""
    try:
        yield
    except NotImplementedError as error:
        got = f"a function that the Gram rules do not know ({error})"
        raise InputError("apply_fn", got, "write that part in another way") from error
