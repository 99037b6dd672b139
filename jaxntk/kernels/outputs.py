r"""From the outputs of a network to one kernel: which outputs are differentiated, and how combined.

With :math:`J_i` the Jacobian of the outputs of example i (outputs beyond the first axis flattened
to C numbers), every choice but the full kernel is

.. math:: K_{ij} = \sum_k \langle J_i^T b_k, J_j^T b_k \rangle

for the rows :math:`b_k` of a basis:

* ``trace``: the unit vectors; the trace over outputs of the full kernel, not divided by C;
* ``sum``: one row of ones; the pseudo-kernel of the summed logits, which TE-NAS and LGA use;
* ``class_balanced``: an orthonormal basis of what is orthogonal to the ones, so that the kernel is
  ``trace - sum / C``, that of logits from which their mean over classes is taken. Softmax does not
  see that mean, and it is all that ``sum`` sees;
* ``full``: all pairs of outputs, ``(n1, n2, C, C)``.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax.errors import TraceContextError
from jaxtyping import Array, Float

from jaxntk.errors import InputError, check_choice

ApplyFn = Callable[[Any, Array], Array]
Outputs = Literal["trace", "full", "sum", "class_balanced"]


def check_outputs(outputs: str) -> Outputs:
    """Returns ``outputs`` if it is one of those there are.

    Args:
        outputs: ``trace``, ``full``, ``sum`` or ``class_balanced``.

    Returns:
        The same.

    Raises:
        InputError: it is none of them.
    """
    check_choice("outputs", outputs, get_args(Outputs))
    return cast(Outputs, outputs)


def flat_outputs(apply_fn: ApplyFn) -> ApplyFn:
    """Returns the function with outputs of shape (n, C).

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.

    Returns:
        The same function with all axes of its output but the first made one.
    """

    def flat(params: Any, x: Array) -> Array:
        out = apply_fn(params, x)
        return out.reshape(out.shape[0], math.prod(out.shape[1:]))

    return flat


def output_basis(outputs: Outputs, count: int, dtype: jnp.dtype) -> Float[Array, "k c"]:
    """Returns the combinations of outputs whose kernels are added up.

    Args:
        outputs: which kernel; ``full`` gives the unit vectors, as ``trace``.
        count: outputs of one example, C.
        dtype: of the basis.

    Returns:
        One combination a row.

    Raises:
        InputError: an unknown name, or ``class_balanced`` for a single output.

    Example:
        >>> output_basis("sum", 3, jnp.dtype("float32")).shape
        (1, 3)
        >>> output_basis("class_balanced", 3, jnp.dtype("float32")).shape
        (2, 3)
    """
    match check_outputs(outputs):
        case "sum":
            return jnp.ones((1, count), dtype)
        case "class_balanced":
            if count < 2:
                raise InputError("outputs", "class_balanced for one output", "choose trace or sum")
            return jnp.asarray(np.asarray(scipy.linalg.helmert(count)), dtype)
    return jnp.eye(count, dtype=dtype)


def output_count(apply_fn: ApplyFn, params: Any, x: Any) -> int:
    """Returns the number of outputs of one example, from shapes alone.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters or their shapes.
        x: a batch or its shape.

    Returns:
        The product of all axes of the output but the first.

    Raises:
        InputError: what the function returns is no real array with one row an example.
    """
    try:
        out = jax.eval_shape(apply_fn, params, x)
    except TraceContextError as error:
        cure = "switch off dropout and batch statistics: call eval() on it before nnx.split"
        raise InputError("apply_fn", "an NNX model that changes when it is called", cure) from error
    cure = "return one array (n, ...) of real outputs, a row an example"
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise InputError("apply_fn", f"outputs of type {type(out).__name__}", cure)
    if not out.shape or out.shape[0] != x.shape[0] or not jnp.issubdtype(out.dtype, jnp.floating):
        got = f"outputs {out.dtype}{list(out.shape)} for {x.shape[0]} examples"
        raise InputError("apply_fn", got, cure)
    if not math.prod(out.shape):
        raise InputError("apply_fn", f"no outputs, of shape {list(out.shape)}", cure)
    return math.prod(out.shape[1:])
