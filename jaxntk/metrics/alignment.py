r"""How well a kernel's entries agree with the labels.

With K the kernel and L the label matrix, L_ij = +1 where examples i and j share a label and -1
elsewhere, each metric here is the cosine between a centred K and a centred L; they differ in which
entries enter and in how they are centred. None changes under K -> a K + b with a > 0, nor under any
two values in place of +1 and -1 (larger for equal labels).
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxntk.metrics.gram import LabelledGram
from jaxntk.metrics.score import Score
from jaxntk.validity import Status

ROUNDING = 8
"""A centred matrix all of whose entries are below this many machine epsilons of the largest entry
before centring is rounding, and its direction is noise."""


def lga(gram: LabelledGram) -> Score:
    """Label-gradient alignment: Pearson correlation of all n^2 entries of K and L.

    Means are taken over all entries, diagonal included.

    Args:
        gram: kernel and labels.

    Returns:
        A value in [-1, 1], higher is better; :attr:`Status.CONSTANT` where K or L does not vary.

    Source:
        Mok, Na, Kim, Han, Yoon, "Demystifying the neural tangent kernel from a practical
        perspective", CVPR 2022, arXiv 2203.14577; the authors' function ``compute_others``.

    Example:
        >>> gram = LabelledGram.of(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([0, 1]))
        >>> round(lga(gram).value, 12)
        1.0
    """
    return _pearson(gram, np.ones_like(gram.unit_NxN, dtype=bool))


def lga_off_diagonal(gram: LabelledGram) -> Score:
    """Label-gradient alignment over pairs of different examples: the entries with i != j.

    The diagonal of L is always +1 and the diagonal of K always large, so :func:`lga` is positive
    even for a kernel that knows nothing of the labels; this variant is not.

    Args:
        gram: kernel and labels.

    Returns:
        A value in [-1, 1], higher is better; :attr:`Status.CONSTANT` where K or L does not vary
        off the diagonal (all labels equal, or all different).

    Source:
        A variant of :func:`lga` offered by this package.
    """
    return _pearson(gram, ~np.eye(gram.labels_N.size, dtype=bool))


def lga_centred(gram: LabelledGram) -> Score:
    """Centred alignment <HKH, HLH>_F / (||HKH||_F ||HLH||_F), with H = I - 11^T/n.

    Args:
        gram: kernel and labels.

    Returns:
        A value in [-1, 1], higher is better; :attr:`Status.CONSTANT` where HKH or HLH is zero.

    Source:
        Cortes, Mohri, Rostamizadeh, "Algorithms for learning kernels based on centered alignment",
        JMLR 13 (2012); as CKA in Kornblith et al., ICML 2019, arXiv 1905.00414.
    """
    kernel, target = gram.unit_NxN, gram.same_label_NxN
    return _cosine(double_centred(kernel), double_centred(target), kernel, gram.eps)


def double_centred(matrix_NxN: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Takes out the means of rows and columns: HKH with H = I - 11^T/n.

    Args:
        matrix_NxN: a kernel.

    Returns:
        The kernel of features from which their mean over the examples is taken.

    Example:
        >>> print(double_centred(np.eye(2)))
        [[ 0.5 -0.5]
         [-0.5  0.5]]
    """
    rows = matrix_NxN - matrix_NxN.mean(axis=0, keepdims=True)
    return rows - rows.mean(axis=1, keepdims=True)


def _pearson(gram: LabelledGram, entries_NxN: Bool[np.ndarray, "n n"]) -> Score:
    kernel, target = gram.unit_NxN[entries_NxN], gram.same_label_NxN[entries_NxN]
    return _cosine(kernel - kernel.mean(), target - target.mean(), kernel, gram.eps)


def _cosine(
    kernel: Float[np.ndarray, "*shape"],
    target: Float[np.ndarray, "*shape"],
    uncentred_kernel: Float[np.ndarray, "*shape"],
    eps: float,
) -> Score:
    """Cosine between centred entries; ``uncentred_kernel`` sets the size of its rounding."""
    kernel_noise = ROUNDING * eps * float(np.max(np.abs(uncentred_kernel)))
    target_noise = ROUNDING * float(np.finfo(np.float64).eps)
    if np.max(np.abs(kernel)) <= kernel_noise or np.max(np.abs(target)) <= target_noise:
        return Score.invalid(Status.CONSTANT)
    norms = float(np.linalg.norm(kernel)) * float(np.linalg.norm(target))
    return Score.of(float(np.clip(np.vdot(kernel, target) / norms, -1.0, 1.0)))
