"""How large a kernel is: how far a step of gradient descent moves the outputs."""

import numpy as np

from jaxntk.metrics.gram import LabelledGram
from jaxntk.metrics.score import Score


def mean(gram: LabelledGram) -> Score:
    """Mean of all n^2 entries of the kernel.

    Args:
        gram: the kernel.

    Returns:
        A value in the unit of the kernel, higher is better.

    Source:
        Xu, Zhao, Lin, Gao, Sun, Yang, "KNAS: green neural architecture search", ICML 2021 (there
        called the mean of the Gram matrix, MGM).

    Example:
        >>> mean(LabelledGram.of(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([0, 1]))).value
        1.5
    """
    return Score.of(gram.scale * float(np.mean(gram.unit_NxN)))


def frobenius(gram: LabelledGram) -> Score:
    """Frobenius norm sqrt(sum_ij K_ij^2), not normalised by n.

    Args:
        gram: the kernel.

    Returns:
        A value in the unit of the kernel, higher is better.

    Source:
        One of the metrics at initialisation that Mok et al., CVPR 2022, arXiv 2203.14577, compare.

    Example:
        >>> frobenius(LabelledGram.of(np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([0, 1]))).value
        5.0
    """
    return Score.of(gram.scale * float(np.linalg.norm(gram.unit_NxN)))


def trace(gram: LabelledGram) -> Score:
    """Trace of the kernel: the sum over examples of the squared norm of the gradient.

    Args:
        gram: the kernel.

    Returns:
        A value in the unit of the kernel, higher is better.

    Source:
        Shu, Cai, Dai, Ooi, Low, "NASI: label- and data-agnostic neural architecture search at
        initialization", ICLR 2022, arXiv 2109.00817 (the trace norm of a positive semi-definite
        kernel is its trace).

    Example:
        >>> trace(LabelledGram.of(np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([0, 1]))).value
        7.0
    """
    return Score.of(gram.scale * float(np.trace(gram.unit_NxN)))
