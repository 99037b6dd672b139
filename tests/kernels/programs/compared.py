"""The kernel of a program by definition, and as it is computed."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.kernels import empirical_ntk
from jaxntk.kernels.guard import MethodFallback
from tests.kernels.programs.draft import Program, is_float


def jacobian_kernel(program: Program) -> np.ndarray:
    """Returns the trace kernel from the whole Jacobian over the leaves that have derivatives."""
    apply_fn, params, x, *_ = program
    leaves, tree = jax.tree.flatten(params)
    places = [at for at, leaf in enumerate(leaves) if is_float(leaf) and np.size(leaf)]

    def of_floats(floats: Sequence[jax.Array], leaves: Sequence[Any], x: jax.Array) -> jax.Array:
        every = list(leaves)
        for at, leaf in zip(places, floats, strict=True):
            every[at] = leaf
        return apply_fn(jax.tree.unflatten(tree, every), x)

    jac = jax.jit(jax.jacrev(of_floats))([jnp.asarray(leaves[at]) for at in places], leaves, x)
    kernel = np.zeros((len(x), len(x)))
    for at, rows in zip(places, jac, strict=True):
        rows = np.asarray(rows, np.float64).reshape(len(x), -1, np.size(leaves[at]))
        kernel += np.einsum("icp,jcp->ij", rows, rows)
    return kernel


def kernel_of(program: Program, **options: Any) -> np.ndarray:
    """Returns the trace kernel as it is computed; a slower way than by Gram rules is an error."""
    with warnings.catch_warnings():
        # Kernels of zeros.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", MethodFallback)
        kernel = empirical_ntk(
            program.apply_fn, program.params, program.x, outputs="trace", **options
        )
    return np.asarray(kernel, np.float64)


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest entry."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    assert np.all(np.isfinite(wanted)), "the Jacobian is not finite"
    largest = np.abs(wanted).max()
    error = np.abs(got - wanted).max() / (largest if largest > 0 else 1.0)
    return float(error) if np.isfinite(error) else np.inf
