r"""The spectrum of the Fisher information of a classifier, from a kernel.

The Fisher matrix of the parameters under a softmax is also the generalised Gauss-Newton matrix of
the cross-entropy,

.. math:: F = \frac{1}{n} \sum_i J_i^T (\mathrm{diag}(p_i) - p_i p_i^T) J_i, \qquad
    p_i = \mathrm{softmax}(f(\theta, x_i)).

It is P by P, far too large to form. With :math:`s = \sqrt{p}`, held constant, the function
:math:`h = (I - s s^T)(s \circ f)` has :math:`F = \frac{1}{n} \sum_i H_i^T H_i`, so that the
eigenvalues of F that are not zero are those of the kernel :math:`H H^T / n`.

Source: Karakida, Akaho, Amari, "Universal statistics of Fisher information in deep neural
networks", AISTATS 2019, arXiv 1806.01316; Martens, "New insights and perspectives on the natural
gradient method", JMLR 2020, arXiv 1412.1193, section 9.
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
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.function import function_of
from jaxntk.kernels.outputs import output_count
from jaxntk.kernels.parameters import ParameterChoice
from jaxntk.validity import Status


@dataclass(frozen=True, eq=False)
class FisherSpectrum:
    """The eigenvalues of a Fisher matrix and whether they mean anything.

    Args:
        eigenvalues: the largest first, as many as the matrix can have that are not zero: the
            number of parameters, or n (C - 1) if that is less. None unless ``status`` is ``ok``.
            Of zeros rounding leaves something, positive or negative.
        trace: their sum; None likewise.
        status: ``zero_kernel``, ``nonfinite`` or ``eigensolver_failed`` where there are none.
    """

    eigenvalues: Float[np.ndarray, " k"] | None
    trace: float | None
    status: Status


def fisher_spectrum(
    apply_fn: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    state: Any = None,
    pick: Callable[[Any], Any] | None = None,
    parameters: ParameterChoice = "all",
    **options: Any,
) -> FisherSpectrum:
    """Returns the exact eigenvalues of the Fisher matrix of a softmax classifier.

    Args:
        apply_fn: ``(params, x) -> logits (n, .., C)``, or ``(params, x, state)``; where there are
            axes between the first and the last, as pixels, each has a softmax of its own.
        params: the parameters, any tree.
        x: the inputs over whose predictions the matrix is averaged.
        state: what is not differentiated.
        pick: takes the logits from what ``apply_fn`` returns.
        parameters: which enter, as in ``empirical_ntk``.
        options: others of ``empirical_ntk``: ``tile``, ``route``, ``method``, ``check`` ...

    Returns:
        The spectrum, found in float64. The kernel behind it has (n C)^2 entries.

    Raises:
        InputError: as ``empirical_ntk``; fewer than two logits.

    Example:
        >>> x = jnp.array([[2.0, 0.0], [0.0, 1.0]])
        >>> found = fisher_spectrum(lambda w, x: x @ w, jnp.zeros((2, 2)), x)
        >>> found.eigenvalues.tolist(), found.trace
        ([1.0, 0.25], 1.25)
    """
    check_arguments(NtkSettings("full", parameters=parameters), x, None)
    if "outputs" in options:
        raise InputError("outputs", repr(options["outputs"]), "leave it out: all logits enter")
    logits = function_of(apply_fn, params, state, parameters, pick)
    output_count(logits.outputs, logits.entering, x)
    shape = jax.eval_shape(logits.outputs, logits.entering, x).shape
    if len(shape) < 2 or shape[-1] < 2:
        cure = "give a function of at least two logits an example, on the last axis"
        raise InputError("apply_fn", f"outputs of shape {shape}", cure)

    def whitened(params: Any, x: Any, *state: Any) -> Array:
        out = apply_fn(params, x, *state)
        return _whitened(out if pick is None else pick(out))

    kernel = empirical_ntk(
        whitened, params, x, outputs="full", state=state, parameters=parameters, **options
    )
    n = examples_of(x)
    positions = int(np.prod(shape[1:-1], dtype=int))
    rank = min(n * positions * (shape[-1] - 1), sum(jnp.size(leaf) for leaf in logits.entering))
    wide = np.asarray(kernel, np.float64).transpose(0, 2, 1, 3).reshape(n * kernel.shape[2], -1)
    return _spectrum(wide / n, rank)


def _whitened(logits: Array) -> Array:
    """Returns h, whose kernel is that of the logits with the Fisher matrix of the softmax in it."""
    root = jax.lax.stop_gradient(jnp.sqrt(jax.nn.softmax(logits)))
    scaled = root * logits
    return scaled - root * jnp.sum(root * scaled, axis=-1, keepdims=True)


def _spectrum(kernel: Float[np.ndarray, "k k"], rank: int) -> FisherSpectrum:
    if not np.all(np.isfinite(kernel)):
        return FisherSpectrum(None, None, Status.NONFINITE)
    if not np.any(kernel):
        return FisherSpectrum(None, None, Status.ZERO_KERNEL)
    try:
        eigenvalues = np.linalg.eigvalsh(kernel)[::-1]
    except np.linalg.LinAlgError:
        return FisherSpectrum(None, None, Status.EIGENSOLVER_FAILED)
    return FisherSpectrum(eigenvalues[:rank], float(np.trace(kernel)), Status.OK)
