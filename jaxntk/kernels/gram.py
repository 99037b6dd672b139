"""The kernel of our own networks as the gradient with respect to a zero Gram matrix.

The networks of :mod:`jaxntk.networks` have derivatives of their own, written by hand where speed
needs them, which also give kernels; :mod:`jaxntk.kernels.traced` is for all other functions.

Every parameter has a place beside it in ``params`` (:mod:`jaxntk.networks.layers`): a
matrix of zeros that no output depends on, and whose cotangent is, by the rules of
:mod:`jaxntk.networks.gram_rules`, the parameter's own kernel. One forward and one backward pass for
each row of :func:`~jaxntk.kernels.outputs.output_basis` so give the kernel of every layer. Exact
when the examples of a batch do not interact; see :mod:`jaxntk.kernels.coupled` where they do.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.function import example_program, function_of, kernel_dtype
from jaxntk.kernels.layer_kernels import LayerKernels, assemble, tiles_of, zero_kernels
from jaxntk.kernels.outputs import ApplyFn, Outputs, check_outputs, flat_outputs, output_basis
from jaxntk.kernels.parameters import Path, Places, by_path
from jaxntk.kernels.traced.survey import survey
from jaxntk.kernels.traced.taps import Reading
from jaxntk.networks.layers import PLACE_SUFFIX

Params = Mapping[str, Any]


def gram_kernels(
    apply_fn: ApplyFn,
    params: Params,
    x: Shaped[Array, "n ..."],
    places: Places,
    *,
    outputs: Outputs,
    block: tuple[int, int] | None = None,
) -> LayerKernels:
    """Returns the kernel of every chosen parameter from one forward and a few backward passes.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, made of layers with Gram rules.
        params: the parameters.
        x: the inputs.
        places: the parameters that enter, covered by the rules.
        outputs: which outputs, and how combined; see :mod:`jaxntk.kernels.outputs`.
        block: None for the kernel of ``x`` with itself, else ``(a, b)`` with ``a + b == n`` for
            the block of the first ``a`` examples against the last ``b``.

    Returns:
        For each path an array ``(*leading axes, rows, columns)``, in the dtype that
        :func:`~jaxntk.kernels.function.kernel_dtype` gives.
        For ``full`` every example gives C neighbouring rows or columns.

    Raises:
        InputError: an unknown ``outputs``.
    """
    rows, columns = block or (len(x), len(x))
    flat = flat_outputs(apply_fn)
    each = 1
    if check_outputs(outputs) == "full":
        each = jax.eval_shape(flat, params, x).shape[1]
        x = jnp.repeat(x, each, axis=0)
    zeros = zero_kernels(places, (rows * each, columns * each), kernel_dtype(params))

    def out(grams: LayerKernels) -> Array:
        return flat(with_places(params, grams), x)

    primal, pull_back = jax.vjp(out, zeros)
    basis = output_basis(outputs, primal.shape[1], primal.dtype)
    if outputs == "full":
        return pull_back(jnp.tile(basis, (len(x) // each, 1)))[0]
    if len(basis) == 1:
        return pull_back(jnp.broadcast_to(basis, primal.shape))[0]

    def add_output(kernels: LayerKernels, combination: Array) -> tuple[LayerKernels, None]:
        (more,) = pull_back(jnp.broadcast_to(combination[None, :], primal.shape))
        return jax.tree.map(jnp.add, kernels, more), None

    return lax.scan(add_output, zeros, basis)[0]


def tiled_gram_kernels(
    apply_fn: ApplyFn,
    params: Params,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None,
    places: Places,
    *,
    outputs: Outputs,
    tile: int,
) -> LayerKernels:
    """Returns what :func:`gram_kernels` returns, holding the activations of two tiles at a time.

    Every pair of tiles is one forward and backward pass over ``2 * tile`` examples, so the time
    grows by a factor of about ``n / tile`` while the memory of activations does not depend on n.

    Args:
        apply_fn: as in :func:`gram_kernels`; what it computes for an example must not depend on
            the others (batch normalisation with stored statistics).
        params: the parameters.
        x1: the inputs that give the rows.
        x2: those that give the columns; None for ``x1``.
        places: the parameters that enter.
        outputs: as in :func:`gram_kernels`.
        tile: examples in a tile; n need not be a multiple of it.

    Returns:
        As :func:`gram_kernels`.

    Raises:
        InputError: an unknown ``outputs``.
    """
    left = tiles_of(x1, tile)
    right = left if x2 is None else tiles_of(x2, tile)
    each = 1
    if outputs == "full":
        each = jax.eval_shape(flat_outputs(apply_fn), params, x1).shape[1]

    def block(row: Array, column: Array) -> LayerKernels:
        both = jnp.concatenate([left[row], right[column]])
        return gram_kernels(apply_fn, params, both, places, outputs=outputs, block=(tile, tile))

    return assemble(
        block,
        (len(x1) * each, None if x2 is None else len(x2) * each),
        tile * each,
        places,
        kernel_dtype(params),
    )


def with_places(params: Params, grams: LayerKernels) -> Params:
    """Adds, beside parameters, the places where their kernels are read off.

    Args:
        params: the parameters.
        grams: for each path that enters, zeros in the shape of its kernel.

    Returns:
        A tree with both.
    """
    beside = {marker(path): gram for path, gram in grams.items()}
    return traverse_util.unflatten_dict(by_path(params) | beside)


def marker(path: Path) -> Path:
    """Returns the path of a parameter's place.

    Args:
        path: of the parameter.

    Returns:
        The path of the leaf beside it.
    """
    return (*path[:-1], path[-1] + PLACE_SUFFIX)


def network_places(apply_fn: ApplyFn, params: Params, x: Any) -> Places:
    """Lists the parameters of one of our networks, with the axes that loops stack in front of them.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters or their shapes.
        x: a batch of inputs, or its shape.

    Returns:
        The parameters that the outputs depend on.

    Raises:
        InputError: one that is used more than once, for which a place would give a wrong kernel.
    """
    function = function_of(apply_fn, params, None, "all", None)
    found = survey(example_program(function, x))
    places = {}
    for key, path in enumerate(function.paths):
        reading = found.reading(key)
        if reading not in (None, Reading.KERNEL):
            raise InputError(
                "network", f"{'/'.join(path)}, {found.why_gradient(key)}", "use it once"
            )
        if reading is Reading.KERNEL:
            places[path] = found.leading(key)
    return Places(places)
