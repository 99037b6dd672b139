"""Whether a number computed from a kernel means what its formula says."""

import enum

ASYMMETRY = 1e-2
"""Largest |K_ij - K_ji| allowed, relative to the largest entry: far above rounding in any precision
(bfloat16: 2^-8), far below what a matrix that is no kernel shows."""


class Status(enum.StrEnum):
    """Why a score has a value, or why it has none."""

    OK = "ok"
    """The value is finite and means what the metric's formula says."""
    ZERO_KERNEL = "zero_kernel"
    """Every entry of the kernel is zero: no parameter reaches the outputs."""
    NONFINITE = "nonfinite"
    """The kernel, or the value computed from it, holds NaN or infinity."""
    RANK_DEFICIENT = "rank_deficient"
    """The smallest eigenvalue cannot be told from rounding, so a ratio with it means nothing."""
    CONSTANT = "constant"
    """Kernel or labels do not vary, so a correlation between them is undefined."""
    EIGENSOLVER_FAILED = "eigensolver_failed"
    """The eigenvalue iteration did not converge."""
