r"""Inner products and norms of the gradients of a loss, example by example.

The same pass that gives kernels gives them: with :math:`g_i = \partial \ell(f(\theta, x_i), y_i) /
\partial \theta`,

* :func:`per_example_norms`: :math:`\lVert g_i \rVert`, without a gradient or a matrix being formed;
  differential privacy calls them ghost norms;
* :func:`gradient_dots`: :math:`\langle g_i, g'_j \rangle` between two sets, the influence of a step
  on one example upon another.

Source: Goodfellow, "Efficient per-example gradient computations", arXiv 1510.01799; Lee, Kifer,
"Scaling up differentially private deep learning with fast per-example gradient clipping", arXiv
2009.03106; Pruthi et al., "Estimating training data influence by tracing gradient descent",
arXiv 2002.08484.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.errors import InputError
from jaxntk.kernels.arguments import NtkSettings, check_arguments
from jaxntk.kernels.compiled import compiled_once
from jaxntk.kernels.empirical import checked_program, empirical_ntk
from jaxntk.kernels.function import function_of
from jaxntk.kernels.guard import warn_of_values, warn_of_verdict
from jaxntk.kernels.outputs import output_count
from jaxntk.kernels.parameters import ParameterChoice
from jaxntk.kernels.traced.contraction import Route
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import run_program, survey
from jaxntk.networks.precision import at_precision

Loss = Callable[[Array, Any], Array]
"""``(outputs (n, ...), targets (n, ...)) -> losses (n,)``."""


def per_example_norms(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Loss | None = None,
    state: Any = None,
    pick: Callable[[Any], Any] | None = None,
    parameters: ParameterChoice = "all",
    route: Route | str = "auto",
    matmul_precision: str = "highest",
    check: bool = True,
) -> Float[Array, " n"]:
    r"""Returns the norm of the gradient of every example.

    .. math:: \lVert \partial \ell_i / \partial \theta \rVert_2

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, or ``(params, x, state)``.
        params: the parameters, any tree.
        x: the inputs, an array or a tree, examples on the first axis.
        y: the targets, likewise; what ``loss`` wants.
        loss: ``(outputs, y) -> (n,)``, of each example by itself; None for the sum of the outputs.
        state: what is not differentiated.
        pick: takes the outputs from what ``apply_fn`` returns, before the loss.
        parameters: which enter, as in ``empirical_ntk``.
        route: how gradients are contracted, as in ``empirical_ntk``.
        matmul_precision: as in ``empirical_ntk``.
        check: as in ``empirical_ntk``.

    Returns:
        (n,), the square roots of the diagonal of :func:`gradient_dots`.

    Raises:
        InputError: as ``empirical_ntk``; losses that are not one number an example.

    Example:
        >>> x = jnp.array([[3.0, 4.0], [0.0, 2.0]])
        >>> per_example_norms(lambda w, x: x @ w, jnp.ones(2), x).tolist()
        [5.0, 2.0]
    """
    losses, batch = _losses(apply_fn, loss, pick, x, y)
    check_arguments(NtkSettings("sum", parameters=parameters, route=route), batch, None)
    with at_precision(matmul_precision):
        function = function_of(losses, params, state, parameters, None)
        count = output_count(function.outputs, function.entering, batch)
        checked = checked_program(
            function, batch, None, check, matmul_precision, count=count, norms=True
        )
        method = "gram"
        if checked.verdict is not None:
            method = warn_of_verdict(checked.verdict, "auto")
        dtype = function.dtype
        make = lambda: _norms_program(checked.program, dtype, route, method)  # noqa: E731
        norms = compiled_once(("norms", method, route, *checked.key), make)(*checked.inputs)
    if check:
        warn_of_values(norms)
    return norms


def _norms_program(
    program: Program, dtype: jnp.dtype, route: Route | str, method: str
) -> Callable[..., Array]:
    """Returns the compiled function ``(consts, arrays, x, None) -> norms``."""
    found = survey(program) if method == "gram" else None
    program = program._replace(consts=())

    @jax.jit
    def norms(consts: Any, arrays: Any, x: Any, _: None) -> Array:
        closed = program._replace(consts=consts)
        if found is not None:
            kernels = Kernels(closed, found, "sum", route, dtype)
            return jnp.sqrt(kernels.square_norms(arrays, x))
        entering, others = arrays[: program.entering], arrays[program.entering :]

        def norm(example: Any) -> Array:
            grads = jax.grad(lambda p: run_program(closed, [*p, *others, *example]).sum())(entering)
            squares = [jnp.square(leaf.astype(dtype)).sum() for leaf in grads]
            return jnp.sqrt(sum(squares, start=jnp.zeros((), dtype)))

        return lax.map(norm, x)

    return norms


def gradient_dots(
    apply_fn: Callable[..., Any],
    params: Any,
    x1: Any,
    x2: Any = None,
    y1: Any = None,
    y2: Any = None,
    *,
    loss: Loss | None = None,
    pick: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Float[Array, "n1 n2"]:
    r"""Returns the inner products of the gradients of the losses of two sets of examples.

    .. math:: \langle \partial \ell_i / \partial \theta, \partial \ell'_j / \partial \theta \rangle

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, or ``(params, x, state)``.
        params: the parameters, any tree.
        x1: the inputs that give the rows.
        x2: those that give the columns; None for ``x1`` and ``y1``.
        y1: the targets of the rows.
        y2: the targets of the columns.
        loss: as in :func:`per_example_norms`.
        pick: as in :func:`per_example_norms`.
        options: of ``empirical_ntk``: ``state``, ``parameters``, ``tile``, ``route`` and others.

    Returns:
        ``(n1, n2)``.

    Raises:
        InputError: as ``empirical_ntk``; losses that are not one number an example.

    Example:
        >>> def squared(outputs, y):
        ...     return 0.5 * (outputs - y) ** 2
        >>> x, y = jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])
        >>> gradient_dots(lambda w, x: w * x, 1.0, x, y1=y, loss=squared).tolist()
        [[1.0, -6.0], [-6.0, 36.0]]
    """
    if x2 is None and y2 is not None:
        cure = "give the inputs of the columns as x2; those of x1 with other targets are x2=x1"
        raise InputError("y2", "targets without x2", cure)
    losses, rows = _losses(apply_fn, loss, pick, x1, y1)
    columns = None if x2 is None else _losses(apply_fn, loss, pick, x2, y2)[1]
    if "outputs" in options:
        raise InputError("outputs", repr(options["outputs"]), "leave it out: a loss is one number")
    return empirical_ntk(losses, params, rows, columns, outputs="sum", **options)


def _losses(
    apply_fn: Callable[..., Any],
    loss: Loss | None,
    pick: Callable[[Any], Any] | None,
    x: Any,
    y: Any,
) -> tuple[Callable[..., Any], Any]:
    """Returns the function of the losses of a batch of inputs and targets, and the batch."""
    if loss is None and y is not None:
        raise InputError("y", "targets without a loss", "give loss=, a function of outputs and y")

    def losses(params: Any, batch: Any, *state: Any) -> Any:
        outputs = apply_fn(params, batch["x"], *state)
        outputs = outputs if pick is None else pick(outputs)
        if loss is None:
            return outputs
        each = jnp.asarray(loss(outputs, batch.get("y")))
        if each.shape != jnp.shape(jax.tree.leaves(outputs)[0])[:1]:
            cure = "return one number an example, (n,): a mean over the batch mixes examples"
            raise InputError("loss", f"a function that returns the shape {each.shape}", cure)
        return each

    return losses, {"x": x} if y is None else {"x": x, "y": y}
