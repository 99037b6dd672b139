r"""From the outputs of a network to one kernel: which outputs are differentiated, and how combined.

With :math:`J_i` the Jacobian of the outputs of example i (outputs beyond the first axis flattened
to C numbers), every choice but the full kernel is

.. math:: K_{ij} = \sum_k \langle J_i^T b_k, J_j^T b_k \rangle

for the rows :math:`b_k` of a basis:

* ``trace``: the unit vectors; the trace over outputs of the full kernel, not divided by C;
* ``mean``: the same divided by C, which is what neural-tangents' ``trace_axes`` gives;
* ``sum``: one row of ones; the pseudo-kernel of the summed logits, which TE-NAS and LGA use;
* ``class_balanced``: an orthonormal basis of what is orthogonal to the ones, so that the kernel is
  ``trace - sum / C``, that of logits from which their mean over classes is taken. Softmax does not
  see that mean, and it is all that ``sum`` sees;
* ``full``: all pairs of outputs, ``(n1, n2, C, C)``.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
from flax.errors import TraceContextError
from jaxtyping import Array, Float

from jaxntk.errors import InputError, check_choice

ApplyFn = Callable[[Any, Any], Array]
Outputs = Literal["trace", "full", "sum", "class_balanced", "mean"]


def check_outputs(outputs: str) -> Outputs:
    """Returns ``outputs`` if it is one of those there are.

    Args:
        outputs: ``trace``, ``full``, ``sum``, ``class_balanced`` or ``mean``.

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

    def flat(params: Any, x: Any) -> Array:
        out = apply_fn(params, x)
        return out.reshape(out.shape[0], math.prod(out.shape[1:]))

    return flat


class Combinations(NamedTuple):
    """The combinations of outputs whose kernels are added up, made one at a time.

    Args:
        count: how many there are.
        at: ``(number) -> (C,)``, the weights of one.
    """

    count: int
    at: Callable[[Any], Float[Array, " c"]]

    def all(self) -> Float[Array, "k c"]:
        """Returns them as the rows of a matrix."""
        return jax.vmap(self.at)(jnp.arange(self.count, dtype=jnp.int32))


def combinations(outputs: Outputs | str, count: int, dtype: jnp.dtype) -> Combinations:
    """Returns the combinations of outputs whose kernels are added up.

    Args:
        outputs: which kernel; ``full`` gives the unit vectors, as ``trace``.
        count: outputs of one example, C.
        dtype: of the weights.

    Returns:
        The combinations; no matrix of C x C is made.

    Raises:
        InputError: an unknown name, or ``class_balanced`` for a single output.

    Example:
        >>> combinations("sum", 3, jnp.dtype("float32")).count
        1
        >>> combinations("class_balanced", 50_000, jnp.dtype("float32")).count
        49999
    """
    entries = jnp.arange(count, dtype=jnp.int32)
    match check_outputs(outputs):
        case "sum":
            return Combinations(1, lambda number: jnp.ones(count, dtype))
        case "class_balanced":
            if count < 2:
                raise InputError("outputs", "class_balanced for one output", "choose trace or sum")

            def helmert(number: Any) -> Array:
                # Row k of Helmert's matrix: k + 1 ones, then -(k + 1), of length one.
                ones = (number + 1).astype(dtype)
                row = jnp.where(entries <= number, jnp.ones((), dtype), jnp.zeros((), dtype))
                row = jnp.where(entries == number + 1, -ones, row)
                return row / jnp.sqrt(ones * (ones + 1))

            return Combinations(count - 1, helmert)
        case "mean":
            return Combinations(
                count, lambda number: (entries == number).astype(dtype) / math.sqrt(count)
            )
    return Combinations(count, lambda number: (entries == number).astype(dtype))


def output_basis(outputs: Outputs, count: int, dtype: jnp.dtype) -> Float[Array, "k c"]:
    """Returns the combinations of outputs as a matrix.

    Args:
        outputs: which kernel; ``full`` gives the unit vectors, as ``trace``.
        count: outputs of one example, C.
        dtype: of the basis.

    Returns:
        One combination a row.

    Raises:
        InputError: an unknown name, or ``class_balanced`` for a single output.

    Example:
        >>> output_basis("class_balanced", 3, jnp.dtype("float32")).shape
        (2, 3)
    """
    return combinations(outputs, count, dtype).all()


def output_count(apply_fn: Callable[[Any, Any], Any], params: Any, x: Any) -> int:
    """Returns the number of outputs of one example, from shapes alone.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters or their shapes.
        x: a batch or its shape, an array or a tree.

    Returns:
        The product of all axes of the output but the first.

    Raises:
        InputError: what the function returns is no real array with one row an example.
    """
    try:
        out = jax.eval_shape(apply_fn, params, x)
    except TraceContextError as error:
        cure = (
            "pass what it changes as state=, or switch that off: eval() for dropout and batch "
            "statistics, before nnx.split; where it only counts draws, nnx.merge(..., copy=True)"
        )
        raise InputError("apply_fn", "an NNX model that changes when it is called", cure) from error
    n = jax.tree.leaves(x)[0].shape[0]
    cure = "return one array (n, ...) of real outputs, a row an example, or pick= one"
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise InputError("apply_fn", f"outputs of type {type(out).__name__}", cure)
    if not out.shape or out.shape[0] != n or not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError("apply_fn", f"outputs {out.dtype}{list(out.shape)} for {n} examples", cure)
    if not math.prod(out.shape):
        raise InputError("apply_fn", f"no outputs, of shape {list(out.shape)}", cure)
    return math.prod(out.shape[1:])
