"""The three methods of neural-tangents, called for one kernel of ours.

neural-tangents is optional; see :mod:`jaxntk.kernels.neural_tangents_import`.

Source:
    Novak, Sohl-Dickstein, Schoenholz, "Fast finite width neural tangent kernel", ICML 2022,
    arXiv 2206.08720.
"""

from typing import Any, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import FAILURES, InputError
from jaxntk.kernels.function import kernel_dtype
from jaxntk.kernels.neural_tangents_import import import_neural_tangents
from jaxntk.kernels.outputs import ApplyFn, Outputs, flat_outputs, output_basis, output_count
from jaxntk.kernels.parameters import Path, Places, by_path, with_leaves
from jaxntk.networks.forward_mode import forward_mode
from jaxntk.networks.precision import matmul_precision

NeuralTangentsMethod = Literal[
    "jacobian_contraction", "ntk_vector_products", "structured_derivatives"
]
NEURAL_TANGENTS_METHODS = get_args(NeuralTangentsMethod)


def neural_tangents_kernel(
    apply_fn: ApplyFn,
    params: Any,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None,
    places: Places,
    *,
    outputs: Outputs,
    method: NeuralTangentsMethod,
    coupled: bool = False,
) -> Float[Array, "rows columns *outputs"]:
    """Returns a kernel as ``neural_tangents.empirical_ntk_fn`` computes it.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters.
        x1: the inputs that give the rows.
        x2: those that give the columns; None for ``x1``.
        places: the parameters that enter.
        outputs: see :mod:`jaxntk.kernels.outputs`.
        method: which of its implementations.
        coupled: examples interact: differentiate the whole batch (``vmap_axes=None``) instead of
            one example at a time (``vmap_axes=0``).

    Returns:
        ``(n1, n2)``, or ``(n1, n2, C, C)`` for ``full``.

    Raises:
        InputError: neural-tangents is missing, does not know this JAX, or fails on this function,
            which has been traced before.
    """
    nt = import_neural_tangents()
    flat = by_path(params)
    dtype = kernel_dtype(params)
    basis = output_basis(outputs, output_count(apply_fn, params, x1), dtype)

    def combined(chosen: dict[Path, Array], x: Array) -> Array:
        out = flat_outputs(apply_fn)(with_leaves(params, chosen), x)
        if outputs in ("trace", "full"):
            return out
        return jnp.matmul(out, basis.T.astype(out.dtype), precision=matmul_precision())

    kernel_fn = nt.empirical_ntk_fn(
        combined,
        trace_axes=() if outputs == "full" else (-1,),
        vmap_axes=None if coupled else 0,
        implementation=nt.NtkImplementation[method.upper()],
    )
    chosen = {path: flat[path] for path in places.leading}
    try:
        with forward_mode():
            kernel = kernel_fn(x1, x2, chosen).astype(dtype)
    except FAILURES as error:
        why = "".join(str(error).strip().splitlines()[:1])[:120]
        got = f"{method}, with which neural-tangents fails here ({type(error).__name__}: {why})"
        raise InputError("method", got, "choose auto, gram or per_example_gradients") from error
    # It divides the trace by the number of outputs.
    return kernel if outputs == "full" else kernel * len(basis)
