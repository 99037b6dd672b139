"""Whether a function has a kernel at all: examples that do not interact, and no chance in it.

The neural tangent kernel pairs the gradients of single examples. Batch statistics make the output
of one example depend on all, and dropout makes it depend on a draw; then a per-example method
gives numbers, but not the kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxntk.errors import InputError
from jaxntk.kernels.arguments import NtkSettings, check_arguments, examples_of
from jaxntk.kernels.function import Function, example_program, function_of
from jaxntk.kernels.guard import EXAMPLES, check_kernels, refuse_dice, warn_of_verdict
from jaxntk.kernels.outputs import flat_outputs, output_count
from jaxntk.kernels.plan import NtkPlan, gram_plan
from jaxntk.kernels.traced.survey import survey


@dataclass(frozen=True)
class ModelCheck:
    """What was found.

    Args:
        outputs: of one example.
        plan: how Gram rules take care of each parameter.
        frozen: an example's outputs change with the batch, but not through a derivative: there are
            statistics of the batch that are held constant. Give them as ``state=`` instead.
    """

    outputs: int
    plan: NtkPlan
    frozen: bool


def check_model(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    state: Any = None,
    pick: Callable[[Any], Any] | None = None,
    frozen_statistics: bool = False,
) -> ModelCheck:
    """Refuses a function whose per-example gradients do not make a kernel.

    Three examples are enough. The derivative of one example's outputs with respect to the other
    inputs has to be zero; the outputs of an example have to be the same in a batch and alone; the
    kernel by Gram rules has to be that of the whole Jacobian
    (:mod:`jaxntk.kernels.guard`).

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, or ``(params, x, state)``.
        params: the parameters, any tree.
        x: at least two examples.
        state: what is not differentiated, as in ``empirical_ntk``.
        pick: takes the outputs from what ``apply_fn`` returns.
        frozen_statistics: allow outputs that change with the batch if no derivative flows through
            it, as with batch statistics held constant.

    Returns:
        What was found.

    Raises:
        InputError: examples interact, outputs are random or not finite, or fewer than two examples.

    Example:
        >>> found = check_model(lambda weights, x: x @ weights, jnp.ones((2, 1)), jnp.eye(2))
        >>> found.outputs, found.frozen
        (1, False)
    """
    check_arguments(NtkSettings("trace"), x, None)
    if examples_of(x) < 2:
        raise InputError("x", "1 example", "give at least two, so that they can interact")
    few = jax.tree.map(lambda leaf: leaf[:EXAMPLES], x)
    function = function_of(apply_fn, params, state, "all", pick)
    count = output_count(function.outputs, function.entering, few)
    together, others = _outputs_and_derivative(function, few)
    if not np.all(np.isfinite(together)):
        raise InputError("apply_fn", "outputs that are not finite", "look at inputs and parameters")
    tolerance = float(np.sqrt(np.finfo(together.dtype).eps))
    scale = max(float(np.max(np.abs(together))), np.finfo(together.dtype).tiny)
    if others > tolerance * scale:
        cure = (
            "use stored batch statistics or a normalisation within examples, "
            "or take the dear exact kernel with examples='coupled'"
        )
        raise InputError("apply_fn", "outputs that depend on the other examples", cure)
    frozen = _apart_alone(function, few, together) > tolerance * scale
    program = example_program(function, few, count)
    n = examples_of(few)
    if not frozen or not frozen_statistics:
        refuse_dice(program)
        warn_of_verdict(check_kernels(function, program, few, gram=True), "auto")
    sizes = [int(np.size(leaf)) for leaf in function.entering]
    plan = gram_plan(survey(program), function.paths, sizes, count, (n, n, n), "auto")
    return ModelCheck(count, plan, frozen)


def _apart_alone(function: Function, x: Any, together: np.ndarray) -> float:
    """Returns by how much outputs of examples alone differ from those of a batch."""
    flat = jax.jit(flat_outputs(function.outputs))
    alone = [
        np.asarray(flat(function.entering, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], x)))
        for i in range(examples_of(x))
    ]
    difference = np.abs(np.concatenate(alone) - together).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def _outputs_and_derivative(function: Function, x: Any) -> tuple[Float[np.ndarray, "n c"], float]:
    """Returns the outputs, and how much those of the first change with the other examples."""
    leaves, tree = jax.tree.flatten(x)
    real = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def outputs(moving: list[Array]) -> Array:
        given = iter(moving)
        whole = [next(given) if each else leaf for leaf, each in zip(leaves, real, strict=True)]
        return flat_outputs(function.outputs)(function.entering, jax.tree.unflatten(tree, whole))

    moving = [leaf for leaf, each in zip(leaves, real, strict=True) if each]
    if not moving:
        return np.asarray(jax.jit(outputs)(moving)), 0.0

    def pulled_back(moving: list[Array]) -> tuple[Array, list[Array]]:
        out, pull_back = jax.vjp(outputs, moving)
        weights = jax.random.normal(jax.random.key(0), out.shape[1:], out.dtype)
        return out, pull_back(jnp.zeros_like(out).at[0].set(weights))[0]

    out, moved = jax.jit(pulled_back)(moving)
    # By how much the outputs change when the others move as far as inputs are apart.
    return np.asarray(out), max(
        (float(np.std(np.asarray(leaf))) or 1.0) * float(np.max(np.abs(np.asarray(change)[1:])))
        for leaf, change in zip(moving, moved, strict=True)
    )
