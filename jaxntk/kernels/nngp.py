r"""The kernel of a network's outputs: what is learnt when only the last layer is trained.

.. math:: K(x, x') = \frac{1}{C} f(\theta, x) f(\theta, x')^T
"""

from typing import Any, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import check_choice
from jaxntk.kernels.outputs import ApplyFn, flat_outputs, output_count
from jaxntk.networks.precision import at_precision

NngpOutputs = Literal["trace", "full"]


def empirical_nngp(
    apply_fn: ApplyFn,
    params: Any,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None = None,
    *,
    outputs: NngpOutputs = "trace",
    matmul_precision: str = "highest",
) -> Float[Array, "n1 n2 *outputs"]:
    r"""Returns the empirical kernel of the neural network Gaussian process.

    With outputs flattened to (n, C)

    * ``trace``: :math:`K_{ij} = \frac{1}{C} \sum_c f_c(x_i) f_c(x'_j)`;
    * ``full``: :math:`K_{ijcd} = f_c(x_i) f_d(x'_j)`.

    Over random parameters of a wide network the expectation of ``trace`` is the covariance of its
    outputs. The kernel of an inner layer is that of a function that returns the layer. The mean
    over outputs is that of ``neural_tangents.empirical_nngp_fn``; note that the trace of
    :func:`~jaxntk.kernels.empirical.empirical_ntk` is not divided by C.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters.
        x1: inputs.
        x2: other inputs; by default ``x1``.
        outputs: ``trace`` or ``full``.
        matmul_precision: of matrix products, see ``jax.default_matmul_precision``.

    Returns:
        ``(n1, n2)`` for ``trace``, ``(n1, n2, C, C)`` for ``full``, in the dtype of the outputs.

    Raises:
        InputError: an unknown ``outputs``, or a function that does not return a row an example.

    Source:
        Lee et al., "Deep neural networks as Gaussian processes", ICLR 2018, arXiv 1711.00165.

    Example:
        >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        >>> print(empirical_nngp(lambda params, x: params * x, jnp.float32(2.0), x))
        [[10.  4.]
         [ 4.  2.]]
    """
    check_choice("outputs", outputs, get_args(NngpOutputs))
    flat = flat_outputs(apply_fn)
    for x in (x1,) if x2 is None else (x1, x2):
        output_count(apply_fn, params, x)
    with at_precision(matmul_precision):
        out1 = flat(params, x1)
        out2 = out1 if x2 is None else flat(params, x2)
        if outputs == "full":
            return jnp.einsum("ic,jd->ijcd", out1, out2)
        return out1 @ out2.T / out1.shape[1]
