"""What the eigenvalues of a kernel say about how evenly gradient descent learns."""

import math

import numpy as np
import scipy.special

from jaxntk.metrics.gram import LabelledGram
from jaxntk.metrics.score import Score
from jaxntk.validity import Status


def condition_number(gram: LabelledGram) -> Score:
    """Ratio of the largest to the smallest eigenvalue.

    Args:
        gram: the kernel.

    Returns:
        A value of at least 1, lower is better; :attr:`Status.RANK_DEFICIENT` where the smallest
        eigenvalue is at most ``n * eps`` times the largest, eps that of the precision in which the
        kernel was computed; :attr:`Status.EIGENSOLVER_FAILED` where no eigenvalues were found.

    Source:
        Chen, Gong, Wang, "Neural architecture search on ImageNet in four GPU hours" (TE-NAS),
        ICLR 2021, arXiv 2102.11535. The rank tolerance is that of ``numpy.linalg.matrix_rank``.

    Example:
        >>> gram = LabelledGram.of(np.array([[8.0, 0.0], [0.0, 2.0]]), np.array([0, 1]))
        >>> condition_number(gram).value
        4.0
    """
    try:
        smallest, largest = gram.unit_eigenvalues_N[[0, -1]]
    except np.linalg.LinAlgError:
        return Score.invalid(Status.EIGENSOLVER_FAILED)
    if smallest <= gram.labels_N.size * gram.eps * largest:
        return Score.invalid(Status.RANK_DEFICIENT)
    return Score.of(float(largest / smallest))


def log_condition_number(gram: LabelledGram) -> Score:
    """Natural logarithm of the condition number: log(lambda_max / lambda_min).

    It ranks as :func:`condition_number` does and is no metric of its own for that reason; means
    over seeds, and differences, are better taken of it.

    Args:
        gram: the kernel.

    Returns:
        A value of at least 0, lower is better; the status of :func:`condition_number` else.

    Example:
        >>> gram = LabelledGram.of(np.array([[8.0, 0.0], [0.0, 2.0]]), np.array([0, 1]))
        >>> round(log_condition_number(gram).value, 12) == round(float(np.log(4.0)), 12)
        True
    """
    score = condition_number(gram)
    return Score.of(float(np.log(score.value))) if score.valid else score


def effective_rank(gram: LabelledGram) -> Score:
    """Exponential of the entropy of the normalised eigenvalues.

    exp(-sum_i p_i log p_i) with p_i = s_i / sum_j s_j and s the singular values, which for a
    positive semi-definite kernel are its eigenvalues; for the small negative eigenvalues that
    rounding leaves they are the absolute values.

    Args:
        gram: the kernel.

    Returns:
        A value in [1, n], higher is better; :attr:`Status.EIGENSOLVER_FAILED` where no eigenvalues
        were found.

    Source:
        Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Example:
        >>> gram = LabelledGram.of(np.eye(3), np.array([0, 1, 2]))
        >>> round(effective_rank(gram).value, 12)
        3.0
    """
    try:
        singular_values = np.abs(gram.unit_eigenvalues_N)
    except np.linalg.LinAlgError:
        return Score.invalid(Status.EIGENSOLVER_FAILED)
    weights = singular_values / singular_values.sum()
    return Score.of(math.exp(float(scipy.special.entr(weights).sum())))
