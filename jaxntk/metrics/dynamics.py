r"""How a kernel moves while its network is trained: two kernels of the same examples compared.

With ``<A, B> = sum_ij A_ij B_ij`` and ``||A||`` the Frobenius norm:

==========================  ==================================================  ====================
function                    formula                                             source
==========================  ==================================================  ====================
:func:`cosine`              ``<K, K'> / (||K|| ||K'||)``                        Fort et al. 2020
:func:`pearson`             cosine of K and K', their grand means taken off
:func:`relative_change`     ``|| |K - K'| / (|K| + 1e-4) ||``, entry by entry   Mok et al. 2022
:func:`distance`            ``1 - cosine(K, K')``                               Fort et al. 2020
:func:`velocity`            ``distance / (t' - t)``                             Fort et al. 2020
:func:`label_energy`        ``sum_c y_c'K y_c / (sum_c ||y_c||^2 ||K||)``       Ortiz-Jimenez 2021
:func:`eigenvectors_on_labels`  ``sum_c (v_k' y_c)^2 / sum_c ||y_c||^2``
==========================  ==================================================  ====================

All are invariant under ``K -> a K`` with a > 0, but for :func:`relative_change`, which is meant for
kernels on their own scale. A kernel of one layer is a kernel as any other.

Sources: Fort, Dziugaite, Paul, Kharaghani, Roy, Ganguli, "Deep learning versus kernel learning",
NeurIPS 2020, arXiv 2010.15110; Mok et al., CVPR 2022, arXiv 2203.14577; Ortiz-Jimenez,
Moosavi-Dezfooli, Frossard, "What can linearized neural networks actually say about
generalization?", NeurIPS 2021, arXiv 2106.06770.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxntk.errors import InputError
from jaxntk.metrics.alignment import ROUNDING
from jaxntk.metrics.score import Score
from jaxntk.validity import Status

OFFSET = 1e-4
"""Added to the entries that :func:`relative_change` divides by, as in the LGA paper."""

Gram = Float[np.ndarray, "..."]
"""A kernel (n, n); wrong shapes come from users and get a clear line."""


def cosine(before_NxN: Gram, after_NxN: Gram) -> Score:
    """Cosine between two kernels, ``<K, K'> / (||K|| ||K'||)``; 1 where they are proportional.

    Args:
        before_NxN: a kernel K.
        after_NxN: a kernel K' of the same examples.

    Returns:
        A value in [-1, 1]; invalid where a kernel is zero or not finite.

    Raises:
        InputError: matrices of different shape, or not square.

    Example:
        >>> round(cosine(np.eye(2), 3 * np.eye(2)).value, 12)
        1.0
    """
    pair = _pair(before_NxN, after_NxN)
    return pair if isinstance(pair, Score) else _cosine(*pair)


def pearson(before_NxN: Gram, after_NxN: Gram) -> Score:
    """Pearson correlation of the entries of two kernels.

    Args:
        before_NxN: a kernel K.
        after_NxN: a kernel K' of the same examples.

    Returns:
        A value in [-1, 1]; invalid where a kernel is zero, not finite, or does not vary.

    Raises:
        InputError: matrices of different shape, or not square.
    """
    pair = _pair(before_NxN, after_NxN)
    if isinstance(pair, Score):
        return pair
    centred = [kernel - kernel.mean() for kernel in pair]
    # The larger entry of a kernel as it comes here is 1: see _pair.
    if any(np.abs(kernel).max() <= ROUNDING * np.finfo(np.float64).eps for kernel in centred):
        return Score.invalid(Status.CONSTANT)
    return _cosine(*centred)


def relative_change(before_NxN: Gram, after_NxN: Gram) -> Score:
    """Frobenius norm of ``|K - K'| / (|K| + 1e-4)``, taken entry by entry.

    Args:
        before_NxN: the kernel K that the change is relative to.
        after_NxN: a kernel K' of the same examples.

    Returns:
        A value of at least 0; invalid where a kernel is not finite or both are zero.

    Raises:
        InputError: matrices of different shape, or not square.

    Source:
        Mok et al., CVPR 2022, arXiv 2203.14577.
    """
    pair = _pair(before_NxN, after_NxN)
    if isinstance(pair, Score) and pair.status is Status.NONFINITE:
        return pair
    before, after = (np.asarray(kernel, np.float64) for kernel in (before_NxN, after_NxN))
    if not before.any() and not after.any():
        return Score.invalid(Status.ZERO_KERNEL)
    return Score.of(float(np.linalg.norm(np.abs(before - after) / (np.abs(before) + OFFSET))))


def distance(before_NxN: Gram, after_NxN: Gram) -> Score:
    """Kernel distance ``S(K, K') = 1 - <K, K'> / (||K|| ||K'||)``.

    Args:
        before_NxN: a kernel K.
        after_NxN: a kernel K' of the same examples.

    Returns:
        A value in [0, 2], 0 where one is a multiple of the other; invalid as :func:`cosine`.

    Raises:
        InputError: matrices of different shape, or not square.

    Source:
        Fort et al., NeurIPS 2020, arXiv 2010.15110.
    """
    found = cosine(before_NxN, after_NxN)
    return Score.of(1 - found.value) if found.valid else found


def velocity(before_NxN: Gram, after_NxN: Gram, elapsed: float | int) -> Score:
    """Kernel velocity ``S(K_t, K_{t + dt}) / dt``.

    Args:
        before_NxN: the kernel at t.
        after_NxN: the kernel of the same examples at t + dt.
        elapsed: dt, in epochs or steps.

    Returns:
        A value of at least 0, per unit of ``elapsed``; invalid as :func:`cosine`.

    Raises:
        InputError: matrices of different shape or not square, or no time between them.

    Source:
        Fort et al., NeurIPS 2020, arXiv 2010.15110.
    """
    if not elapsed > 0:
        raise InputError("elapsed", elapsed, "give a time above 0")
    found = distance(before_NxN, after_NxN)
    return Score.of(found.value / elapsed) if found.valid else found


def label_energy(gram_NxN: Gram, labels_N: Int[np.ndarray, " n"]) -> Score:
    """Alignment of a kernel with the labels, ``sum_c y_c' K y_c / (sum_c ||y_c||^2 ||K||)``.

    ``y_c`` is +1 on the examples of class c and -1 on the others, less its mean.

    Args:
        gram_NxN: a kernel.
        labels_N: class of each example.

    Returns:
        A value in [-1, 1]; invalid where the kernel is zero or not finite, or all labels equal.

    Raises:
        InputError: a matrix that is not square.

    Source:
        Ortiz-Jimenez et al., NeurIPS 2021, arXiv 2106.06770; here for several classes.
    """
    pair = _pair(gram_NxN, gram_NxN)
    if isinstance(pair, Score):
        return pair
    kernel, targets_NxC = pair[0], _targets(labels_N)
    if not targets_NxC.any():
        return Score.invalid(Status.CONSTANT)
    energy = np.einsum("nc,nm,mc->", targets_NxC, kernel, targets_NxC)
    return Score.of(float(energy / (np.sum(targets_NxC**2) * np.linalg.norm(kernel))))


def eigenvectors_on_labels(
    gram_NxN: Gram, labels_N: Int[np.ndarray, " n"], top: int
) -> Float[np.ndarray, " top"]:
    """How much of the labels lies along each of the top eigenvectors of a kernel.

    Entry k is ``sum_c (v_k' y_c)^2 / sum_c ||y_c||^2`` with ``v_k`` the eigenvector of the k-th
    largest eigenvalue; over all n eigenvectors the entries sum to 1.

    Args:
        gram_NxN: a kernel, finite.
        labels_N: class of each example, not all the same.
        top: how many eigenvectors, 1 to n.

    Returns:
        A fraction for each, float64.

    Raises:
        InputError: a kernel that is not finite or not square, labels that are all the same, or a
            wrong number of eigenvectors.

    Example:
        >>> eigenvectors_on_labels(np.diag([1.0, 2.0]), np.array([0, 1]), 2).round(12).tolist()
        [0.5, 0.5]
    """
    kernel, targets_NxC = np.asarray(gram_NxN, np.float64), _targets(labels_N)
    _check_square(kernel, kernel)
    if not np.isfinite(kernel).all():
        raise InputError("gram_NxN", "a kernel with NaN or infinity", "give a finite one")
    if not 1 <= top <= len(kernel):
        raise InputError("top", top, f"the kernel has {len(kernel)} eigenvectors")
    if not targets_NxC.any():
        raise InputError("labels_N", "one class", "give labels of at least two")
    vectors_NxK = np.linalg.eigh(kernel)[1][:, ::-1][:, :top]
    return np.sum((vectors_NxK.T @ targets_NxC) ** 2, axis=1) / np.sum(targets_NxC**2)


def _targets(labels_N: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n c"]:
    classes = np.unique(labels_N)
    targets = np.where(np.asarray(labels_N)[:, None] == classes[None, :], 1.0, -1.0)
    return targets - targets.mean(axis=0)


def _pair(before: Gram, after: Gram) -> tuple[Gram, Gram] | Score:
    """Returns both kernels in float64, their largest entry 1; or why there is no score."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    _check_square(before, after)
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return Score.invalid(Status.NONFINITE)
    if not (before.any() and after.any()):
        return Score.invalid(Status.ZERO_KERNEL)
    # So that no square overflows or underflows.
    return before / np.abs(before).max(), after / np.abs(after).max()


def _check_square(before: Gram, after: Gram) -> None:
    if before.ndim != 2 or before.shape[0] != before.shape[1] or before.shape != after.shape:
        got = f"shapes {before.shape} and {after.shape}"
        raise InputError("kernels", got, "give two square matrices of the same examples")


def _cosine(before: Gram, after: Gram) -> Score:
    norms = float(np.linalg.norm(before)) * float(np.linalg.norm(after))
    return Score.of(float(np.clip(np.vdot(before, after) / norms, -1.0, 1.0)))
