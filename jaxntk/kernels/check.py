"""Whether a function has a kernel at all: examples that do not interact, and no chance in it.

The neural tangent kernel pairs the gradients of single examples. Batch statistics make the output
of one example depend on all, and dropout makes it depend on a draw; then a per-example method
gives numbers, but not the kernel.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.coverage import Coverage, gram_coverage
from jaxntk.kernels.outputs import ApplyFn, flat_outputs, output_count
from jaxntk.networks.linen_gram import linen_rules

EXAMPLES = 3
"""Examples that a check looks at."""


@dataclass(frozen=True)
class ModelCheck:
    """What was found.

    Args:
        outputs: of one example.
        coverage: what the Gram rules can do.
        frozen: an example's outputs change with the batch, but not through a derivative: there are
            statistics of the batch that are held constant. Only ``gram`` sees those; the other
            methods would take each example as a batch of its own.
    """

    outputs: int
    coverage: Coverage
    frozen: bool


def check_model(
    apply_fn: ApplyFn,
    params: Any,
    x: Shaped[Array, "n ..."],
    *,
    frozen_statistics: bool = False,
) -> ModelCheck:
    """Refuses a function whose per-example gradients do not make a kernel.

    Three examples are enough. The derivative of one example's outputs with respect to the other
    inputs has to be zero; the outputs of an example have to be the same in a batch and alone.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters.
        x: at least two examples.
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
    if len(x) < 2:
        raise InputError("x", f"{len(x)} example", "give at least two, so that they can interact")
    few = x[:EXAMPLES]
    with linen_rules():
        count = output_count(apply_fn, params, few)
    coverage = gram_coverage(apply_fn, params, few)
    together, others = _outputs_and_derivative(apply_fn, params, few)
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
    alone = np.concatenate([
        np.asarray(flat_outputs(apply_fn)(params, few[i : i + 1])) for i in range(len(few))
    ])
    apart = float(np.max(np.abs(alone - together))) / scale
    frozen = apart > tolerance
    if frozen and not frozen_statistics:
        got = f"outputs that are other ones in a batch than alone (by {apart:.1e} of the largest)"
        cure = (
            "switch off dropout; for batch statistics that are held constant give "
            "frozen_statistics=True, and take method='gram' without tile and x2"
        )
        raise InputError("apply_fn", got, cure)
    return ModelCheck(count, coverage, frozen)


def _outputs_and_derivative(
    apply_fn: ApplyFn, params: Any, x: Array
) -> tuple[Float[np.ndarray, "n c"], float]:
    """Returns the outputs, and how much those of the first change with the other examples."""

    def outputs(x: Array) -> Array:
        return flat_outputs(apply_fn)(params, x)

    if not jnp.issubdtype(x.dtype, jnp.floating):
        return np.asarray(jax.jit(outputs)(x)), 0.0

    def pulled_back(x: Array) -> tuple[Array, Array]:
        out, pull_back = jax.vjp(outputs, x)
        weights = jax.random.normal(jax.random.key(0), out.shape[1:], out.dtype)
        return out, pull_back(jnp.zeros_like(out).at[0].set(weights))[0]

    out, moved = jax.jit(pulled_back)(x)
    # By how much the outputs change when the others move as far as inputs are apart.
    spread = float(np.std(np.asarray(x))) or 1.0
    return np.asarray(out), spread * float(np.max(np.abs(np.asarray(moved)[1:])))
