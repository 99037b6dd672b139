"""The precision of matrix products: the highest, unless the caller says otherwise."""

from contextlib import AbstractContextManager

import jax
from jax import lax

from jaxntk.errors import InputError


def at_precision(name: str) -> AbstractContextManager[None]:
    """Returns a context in which matrix products and convolutions are traced with a precision.

    Args:
        name: ``highest``, ``high``, ``default``, or another one that JAX knows.

    Returns:
        The context manager.

    Raises:
        InputError: JAX does not know it.
    """
    try:
        # JAX checks the name when the context is entered.
        with jax.default_matmul_precision(name):
            pass
    except ValueError as error:
        cure = "choose highest, high or default, or a name that JAX knows"
        raise InputError("matmul_precision", repr(name), cure) from error
    return jax.default_matmul_precision(name)


def check_x64(dtype: str) -> None:
    """Refuses float64 where JAX would silently compute in float32.

    Args:
        dtype: a precision; ``float32`` is always there.

    Raises:
        InputError: ``jax_enable_x64`` is not set.
    """
    if dtype != "float32" and not jax.config.read("jax_enable_x64"):
        raise InputError("dtype", dtype, "call jax.config.update('jax_enable_x64', True) first")


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
