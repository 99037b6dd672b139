"""The kernel matrix as metrics see it: checked, in float64 on the host, eigenvalues found once."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxntk.errors import InputError
from jaxntk.validity import ASYMMETRY, Status


@dataclass(frozen=True, eq=False)
class LabelledGram:
    """A kernel matrix with the labels of its data. Build it with :meth:`of`, which checks.

    The matrix is held as ``unit_NxN`` times a power of two, so that no square or sum inside a
    metric overflows or underflows; scaling by a power of two changes no digit.

    Args:
        unit_NxN: the kernel divided by ``scale``; its largest entry is in [1, 2), or it is zero.
        scale: a power of two.
        labels_N: class of each example.
        eps: machine epsilon of the precision in which the kernel was computed.
    """

    unit_NxN: Float[np.ndarray, "n n"]
    scale: float
    labels_N: Int[np.ndarray, " n"]
    eps: float

    @classmethod
    def of(
        cls,
        gram_NxN: np.ndarray | jax.Array,
        labels_N: np.ndarray | jax.Array,
        *,
        kernel_dtype: DTypeLike | None = None,
    ) -> "LabelledGram":
        """Checks shapes and types and copies to float64.

        Args:
            gram_NxN: symmetric kernel matrix, shape (n, n), n at least 2; may hold NaN or infinity.
            labels_N: integer classes, shape (n,).
            kernel_dtype: floating-point type in which the kernel was computed; by default the
                type of ``gram_NxN``.

        Returns:
            The kernel, ready for metrics.

        Raises:
            InputError: not a square matrix, far from symmetric, labels that do not fit it, or a
                ``kernel_dtype`` that is no floating-point type.
        """
        gram, labels = np.asarray(gram_NxN), np.asarray(labels_N)
        eps = _machine_epsilon(gram.dtype if kernel_dtype is None else kernel_dtype)
        _check_shapes(gram, labels)
        gram = gram.astype(np.float64)
        _check_symmetry(gram)
        largest = float(np.max(np.abs(gram)))
        usable = np.isfinite(largest) and largest > 0
        scale = float(np.ldexp(1.0, np.frexp(largest)[1] - 1)) if usable else 1.0
        return cls(gram / scale, scale, labels, eps)

    @property
    def fault(self) -> Status | None:
        """What makes every metric of this kernel invalid, or None."""
        if not np.all(np.isfinite(self.unit_NxN)):
            return Status.NONFINITE
        if not np.any(self.unit_NxN):
            return Status.ZERO_KERNEL
        return None

    @cached_property
    def same_label_NxN(self) -> Float[np.ndarray, "n n"]:
        """+1 where two examples share a label, -1 elsewhere."""
        return np.where(self.labels_N[:, None] == self.labels_N[None, :], 1.0, -1.0)

    @cached_property
    def unit_eigenvalues_N(self) -> Float[np.ndarray, " n"]:
        """Eigenvalues of ``unit_NxN`` in ascending order; raises numpy's LinAlgError."""
        return np.linalg.eigvalsh(self.unit_NxN)


def _machine_epsilon(dtype: DTypeLike) -> float:
    """Machine epsilon of a floating-point type; integers are exact and held in float64."""
    try:
        dtype = jnp.dtype(dtype)
    except TypeError as error:
        cure = "give a floating-point type such as 'float32'"
        raise InputError("kernel_dtype", dtype, cure) from error
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise InputError("kernel_dtype", dtype, "metrics are defined for real kernels")
    return float(jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.floating) else np.float64).eps)


def _check_shapes(gram: np.ndarray, labels: np.ndarray) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.shape[0] < 2:
        raise InputError("gram_NxN", f"shape {gram.shape}", "give a square matrix, n at least 2")
    if labels.shape != gram.shape[:1]:
        cure = f"give one label per row of the kernel, shape ({gram.shape[0]},)"
        raise InputError("labels_N", f"shape {labels.shape}", cure)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError("labels_N", f"dtype {labels.dtype}", "give integer class labels")


def _check_symmetry(gram: np.ndarray) -> None:
    if not np.all(np.isfinite(gram)):
        return
    # Halved first: the difference of two huge entries of opposite sign would overflow.
    worst = 2 * float(np.max(np.abs(gram / 2 - gram.T / 2)) / max(np.max(np.abs(gram)), 5e-324))
    if worst > ASYMMETRY:
        got = f"a matrix with K_ij and K_ji apart by {worst:.1e} of its largest entry"
        raise InputError("gram_NxN", got, "a kernel is symmetric; give K, not a block of it")
