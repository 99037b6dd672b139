"""Kernels by their definition: the Jacobian of the whole batch, written out."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.kernels.empirical import empirical_ntk
from tests.networks.tiny import assert_close


def jacobians(function, params, x):
    """Returns ``{path: (n, C, p)}`` of every floating-point leaf, from the whole batch."""
    paths, leaves = zip(*jax.tree.leaves_with_path(params), strict=True)
    tree = jax.tree.structure(params)
    real = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def of_real(moving, x):
        given = iter(moving)
        whole = [next(given) if each else leaf for leaf, each in zip(leaves, real, strict=True)]
        return function(jax.tree.unflatten(tree, whole), x)

    moving = [jnp.asarray(leaf) for leaf, each in zip(leaves, real, strict=True) if each]
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, each in zip(paths, real, strict=True)
        if each
    ]
    n = len(jax.tree.leaves(x)[0])
    count = jax.eval_shape(of_real, moving, x).size // n
    found = jax.jit(jax.jacrev(of_real))(moving, x)
    return {
        name: np.asarray(jac, np.float64).reshape(n, count, -1)
        for name, jac in zip(names, found, strict=True)
    }


def full_kernel(rows):
    """Returns the kernel of all pairs of outputs, (n, n, C, C)."""
    flat = np.concatenate(list(rows.values()), axis=2)
    return np.einsum("icp,jdp->ijcd", flat, flat)


def combined(full, outputs):
    """Returns what becomes of all pairs of outputs."""
    trace, ones, count = np.einsum("ijcc->ij", full), full.sum(axis=(2, 3)), full.shape[2]
    balanced = trace - ones / count
    kinds = {"trace": trace, "mean": trace / count, "sum": ones, "class_balanced": balanced}
    return full if outputs == "full" else kinds[outputs]


def assert_exact(function, params, x, *, outputs="trace", tolerance=1e-10, **settings):
    """Holds the kernel against the Jacobian times itself; a warning of a fallback is an error."""
    wanted = combined(full_kernel(jacobians(function, params, x)), outputs)
    got = empirical_ntk(function, params, x, outputs=outputs, **settings)
    assert_close(got, wanted, tolerance)


class Case:
    """A function, its Jacobian and its full kernel, computed once."""

    def __init__(self, apply_fn, params, x):
        self.apply_fn, self.params, self.x = apply_fn, params, x
        self.rows = jacobians(self.apply_fn, self.params, self.x)
        self.full = full_kernel(self.rows)

    def kernel(self, outputs):
        return combined(self.full, outputs)

    def ntk(self, x1, x2=None, **settings):
        return empirical_ntk(self.apply_fn, self.params, x1, x2, **settings)
