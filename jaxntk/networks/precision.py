"""The precision of matrix products: the highest, unless the caller says otherwise."""

import jax
from jax import lax


def matmul_precision() -> lax.Precision | None:
    """Returns the precision that products get, at the moment they are traced.

    Left to itself JAX rounds the inputs of float32 products to bfloat16 on TPUs and to
    TensorFloat32 on GPUs, which moves the small eigenvalues of a kernel. Here the default is the
    other way round.

    Returns:
        ``Precision.HIGHEST``; None, which leaves it to ``jax.default_matmul_precision``, where that
        is set.

    Example:
        >>> matmul_precision() is lax.Precision.HIGHEST
        True
        >>> with jax.default_matmul_precision("bfloat16"):
        ...     print(matmul_precision())
        None
    """
    chosen = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return lax.Precision.HIGHEST if chosen is None else None
