r"""Kernel ridge regression: what training with a kernel predicts.

.. math:: \hat y_* = K_* (K + \lambda I)^{-1} y, \qquad \lambda = \mathrm{ridge}
    \cdot \mathrm{tr}(K) / N
"""

import math
from dataclasses import dataclass

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from jaxntk.errors import InputError
from jaxntk.validity import ASYMMETRY, Status

Matrix = np.ndarray | jax.Array


@dataclass(frozen=True, eq=False)
class RidgePrediction:
    """Predictions and whether they mean anything.

    Args:
        prediction_MxC: for every test example and output; None unless ``status`` is ``ok``.
        status: ``zero_kernel``, ``nonfinite`` or ``rank_deficient`` where there are none.
        added: what was added to the diagonal of the kernel, lambda.
    """

    prediction_MxC: Float[np.ndarray, "m c"] | None
    status: Status
    added: float


def kernel_ridge_regression(
    gram_train_NxN: Matrix, y_NxC: Matrix, gram_test_MxN: Matrix, *, ridge: float
) -> RidgePrediction:
    r"""Predicts the outputs of test examples from those of training examples.

    Without a ridge this is where gradient descent on the squared error takes the linearised
    network, for the residuals: with targets ``y - f0(x)`` the prediction is that of
    ``f(x_*) - f0(x_*)``. With one it is the minimum of
    :math:`\|f - y\|^2 + \lambda \|\theta - \theta_0\|^2`. All outputs share one kernel; for a full
    kernel (N, N, C, C) give the matrix of all pairs of outputs and ``y`` as one column.

    Args:
        gram_train_NxN: kernel of the training examples with themselves, symmetric.
        y_NxC: targets, for classes usually +1 and -1 or one-hot less their mean.
        gram_test_MxN: kernel of test examples (rows) with training examples (columns).
        ridge: added to the diagonal in units of its mean, so that it means the same for every
            scale of the kernel; at least 0. A kernel that was computed in float32 holds rounding
            errors of about 1e-7 of its largest eigenvalue, which the ridge should exceed.

    Returns:
        The prediction in float64. Its status is ``rank_deficient`` where the regularised kernel is
        not positive definite, or its condition number is above 1 / (N eps) of float64.

    Raises:
        InputError: shapes that do not fit, a kernel far from symmetric, targets or a ridge that are
            not finite, a negative ridge.

    Source:
        Jacot, Gabriel, Hongler, "Neural tangent kernel", NeurIPS 2018, arXiv 1806.07572. Condition
        number by LAPACK's ``pocon``, after Higham, ACM Trans. Math. Softw. 14 (1988).

    Example:
        >>> fit = kernel_ridge_regression(
        ...     np.diag([2.0, 2.0]), np.array([[1.0], [3.0]]), np.array([[2.0, 0.0]]), ridge=1.0
        ... )
        >>> print(fit.prediction_MxC, fit.status, fit.added)
        [[0.5]] ok 2.0
    """
    gram, y, gram_test = (
        np.asarray(matrix, np.float64) for matrix in (gram_train_NxN, y_NxC, gram_test_MxN)
    )
    _check_shapes(gram, y, gram_test)
    if not math.isfinite(ridge) or ridge < 0:
        raise InputError("ridge", ridge, "give a finite number, at least 0")
    if not (np.isfinite(gram).all() and np.isfinite(gram_test).all()):
        return RidgePrediction(None, Status.NONFINITE, math.nan)
    _check_symmetry(gram)
    # In units of a power of two, which changes no digit, nothing overflows.
    unit = float(np.ldexp(1.0, np.frexp(np.abs(gram).max())[1] - 1)) if gram.any() else 1.0
    gram, gram_test = gram / unit, gram_test / unit
    added = ridge * float(np.trace(gram)) / len(gram)
    if not gram.any():
        return RidgePrediction(None, Status.ZERO_KERNEL, added)
    weights = _solve((gram + gram.T) / 2 + added * np.eye(len(gram)), y)
    if weights is None:
        return RidgePrediction(None, Status.RANK_DEFICIENT, added * unit)
    with np.errstate(over="ignore", invalid="ignore"):  # the status says it
        prediction = gram_test @ weights
    if not np.isfinite(prediction).all():
        return RidgePrediction(None, Status.NONFINITE, added * unit)
    return RidgePrediction(prediction, Status.OK, added * unit)


def _solve(
    matrix_NxN: Float[np.ndarray, "n n"], y_NxC: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n c"] | None:
    """Solves by Cholesky; None where the matrix cannot be told from one that is singular."""
    try:
        factor = scipy.linalg.cho_factor(matrix_NxN)
    except scipy.linalg.LinAlgError:
        return None
    # One over the condition number in the norm of largest column sums.
    (pocon,) = scipy.linalg.get_lapack_funcs(("pocon",), (matrix_NxN,))
    inverse_condition, _ = pocon(factor[0], np.linalg.norm(matrix_NxN, 1))
    if inverse_condition <= len(y_NxC) * np.finfo(np.float64).eps:
        return None
    return scipy.linalg.cho_solve(factor, y_NxC)


def _check_shapes(gram: np.ndarray, y: np.ndarray, gram_test: np.ndarray) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram):
        raise InputError("gram_train_NxN", f"shape {gram.shape}", "give a square matrix")
    if y.ndim != 2 or len(y) != len(gram):
        cure = f"give one row a training example, shape ({len(gram)}, C)"
        raise InputError("y_NxC", f"shape {y.shape}", cure)
    if gram_test.ndim != 2 or gram_test.shape[1] != len(gram):
        cure = f"give one column a training example, shape (M, {len(gram)})"
        raise InputError("gram_test_MxN", f"shape {gram_test.shape}", cure)
    if not np.isfinite(y).all():
        raise InputError("y_NxC", "targets that are not finite", "give finite targets")


def _check_symmetry(gram: np.ndarray) -> None:
    # Halved first: the difference of two huge entries of opposite sign would overflow.
    worst = 2 * float(np.abs(gram / 2 - gram.T / 2).max())
    if worst > ASYMMETRY * float(np.abs(gram).max()):
        got = f"a matrix with K_ij and K_ji apart by {worst:.1e}"
        raise InputError("gram_train_NxN", got, "a kernel is symmetric; give K, not a block of it")
