r"""The network that its tangent kernel describes.

.. math:: f_\mathrm{lin}(\theta, x) = f(\theta_0, x) + J(x) (\theta - \theta_0)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxntk.errors import InputError
from jaxntk.kernels.outputs import ApplyFn
from jaxntk.kernels.parameters import split_real
from jaxntk.networks.forward_mode import forward_mode


def linearized(apply_fn: ApplyFn, params0: Any) -> ApplyFn:
    """Returns the first-order Taylor expansion of a network in its parameters.

    Training it with the squared error ends where kernel regression with the empirical neural
    tangent kernel at ``params0`` does (:mod:`jaxntk.kernels.regression`). What a network learns
    beyond it is its non-linear advantage.

    Args:
        apply_fn: ``(params, x) -> outputs``, one array.
        params0: the parameters to expand about. Leaves that are not floating-point (counters,
            random keys) stay what they are here.

    Returns:
        ``(params, x) -> outputs``, affine in ``params``, to be differentiated and trained like
        ``apply_fn``. It raises an ``InputError`` where ``params`` and ``params0`` differ in names,
        shapes or dtypes, or are complex.

    Source:
        Lee et al., "Wide neural networks of any depth evolve as linear models under gradient
        descent", NeurIPS 2019, arXiv 1902.06720. Non-linear advantage: Fort et al.,
        "Deep learning versus kernel learning", NeurIPS 2020, arXiv 2010.15110.

    Example:
        >>> square = linearized(lambda w, x: w**2 * x, jnp.float32(3.0))
        >>> print(square(jnp.float32(4.0), jnp.float32(1.0)))  # 3^2 + 2 * 3 * (4 - 3)
        15.0
    """

    def linear(params: Any, x: Array) -> Array:
        _check_alike(params, params0)
        real0, joined = split_real(params0)
        change = jax.tree.map(jnp.subtract, split_real(params)[0], real0)
        with forward_mode():
            out, out_change = jax.jvp(lambda real: apply_fn(joined(real), x), (real0,), (change,))
        return out + out_change

    return linear


def _check_alike(params: Any, params0: Any) -> None:
    def kinds(tree: Any) -> dict[str, str]:
        return {
            jax.tree_util.keystr(path): jax.typeof(leaf).str_short()
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }

    given, wanted = kinds(params), kinds(params0)
    for path in sorted(given.keys() | wanted.keys()):
        if given.get(path) != wanted.get(path):
            cure = f"give parameters like those to expand about, {wanted.get(path, 'without it')}"
            raise InputError(f"params{path}", given.get(path, "nothing"), cure)
