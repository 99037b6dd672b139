"""The empirical neural tangent kernel as the gradient with respect to a zero Gram matrix.

For logits f_c(x_i) with parameters theta (those chosen by ``places``)

    outputs="sum":    K[i, j] = <dS_i/dtheta, dS_j/dtheta>,  S_i = sum_c f_c(x_i)
    outputs="trace":  K[i, j] = sum_c <df_c(x_i)/dtheta, df_c(x_j)/dtheta>

"sum" is the pseudo-kernel that TE-NAS and LGA use; "trace" is the trace over outputs of the full
kernel, not divided by their number. Exact when the examples of a batch do not interact; see
:mod:`jaxntk.kernels.coupled` where they do, and :mod:`jaxntk.networks.gram_rules` for the rule.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import LayerKernels, assemble, zero_kernels
from jaxntk.kernels.parameters import Places

Variables = Mapping[str, Any]
ApplyFn = Callable[[Variables, Array], Array]
Outputs = Literal["sum", "trace"]


def gram_kernels(
    apply_fn: ApplyFn,
    variables: Variables,
    x: Float[Array, "n h w c"],
    places: Places,
    *,
    outputs: Outputs,
    block: tuple[int, int] | None = None,
) -> LayerKernels:
    """Returns the kernel of every chosen parameter from one forward and one backward pass.

    Args:
        apply_fn: ``(variables, x) -> logits (n, classes)``, made of layers with Gram rules.
        variables: the Flax collections, without ``gram``.
        x: the images.
        places: the parameters that enter.
        outputs: ``"sum"`` or ``"trace"`` (one backward pass a class).
        block: None for the kernel of ``x`` with itself, else ``(a, b)`` with ``a + b == n`` for
            the block of the first ``a`` images against the last ``b``.

    Returns:
        For each path an array ``(*leading axes, rows, columns)`` in the dtype of the parameters.

    Raises:
        InputError: ``outputs`` is neither.
    """
    shape = block or (len(x), len(x))
    zeros = zero_kernels(places, shape, parameter_dtype(variables))

    def logits(gram: LayerKernels) -> Array:
        return apply_fn({**variables, "gram": traverse_util.unflatten_dict(gram)}, x)

    out, pull_back = jax.vjp(logits, zeros)
    if check_outputs(outputs) == "sum":
        return pull_back(jnp.ones_like(out))[0]

    def add_class(kernels: LayerKernels, one_hot: Array) -> tuple[LayerKernels, None]:
        (more,) = pull_back(jnp.broadcast_to(one_hot[None, :], out.shape))
        return jax.tree.map(jnp.add, kernels, more), None

    return lax.scan(add_class, zeros, jnp.eye(out.shape[1], dtype=out.dtype))[0]


def tiled_gram_kernels(
    apply_fn: ApplyFn,
    variables: Variables,
    x: Float[Array, "n h w c"],
    places: Places,
    *,
    outputs: Outputs,
    tile: int,
) -> LayerKernels:
    """Returns what :func:`gram_kernels` returns, holding the activations of two tiles at a time.

    Every pair of tiles is one forward and backward pass over ``2 * tile`` images, so the time grows
    by a factor of about ``n / tile`` while the memory of activations does not depend on n.

    Args:
        apply_fn: as in :func:`gram_kernels`; what it computes for an image must not depend on the
            others (batch normalisation with stored statistics).
        variables: the Flax collections, without ``gram``.
        x: the images.
        places: the parameters that enter.
        outputs: ``"sum"`` or ``"trace"``.
        tile: images in a tile; n need not be a multiple of it.

    Returns:
        As :func:`gram_kernels`.

    Raises:
        InputError: ``outputs`` is neither.
    """
    count = -(-len(x) // tile)
    # Repeated images fill the last tile; their rows and columns are cut off again.
    tiles = jnp.resize(x, (count * tile, *x.shape[1:])).reshape(count, tile, *x.shape[1:])

    def block(row: Array, column: Array) -> LayerKernels:
        both = jnp.concatenate([tiles[row], tiles[column]])
        return gram_kernels(apply_fn, variables, both, places, outputs=outputs, block=(tile, tile))

    return assemble(block, len(x), tile, places, parameter_dtype(variables))


def parameter_dtype(variables: Variables) -> jnp.dtype:
    """Returns the dtype of a network's parameters, in which its kernels are computed.

    Args:
        variables: the Flax collections.

    Returns:
        The dtype that all parameters share.
    """
    return jnp.result_type(*jax.tree.leaves(variables["params"]))


def check_outputs(outputs: str) -> Outputs:
    """Returns ``outputs`` if it is one of those there are.

    Args:
        outputs: ``"sum"`` or ``"trace"``.

    Returns:
        The same.

    Raises:
        InputError: it is neither.
    """
    if outputs == "sum" or outputs == "trace":
        return outputs
    raise InputError("outputs", repr(outputs), "choose sum (of the logits) or trace (over outputs)")
