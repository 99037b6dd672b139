"""The program of one example: what is traced once and then followed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.kernels.traced.kinds import plain

Function = Callable[[Any, Any, Any], Any]
"""``(entering leaves, the other leaves and the state, batch) -> outputs (n, ...)``."""


class Program(NamedTuple):
    """A traced function of one example.

    Args:
        jaxpr: the program, of entering leaves, other leaves and one example, flattened.
        consts: the arrays that the function closes over.
        entering: how many leaves enter the kernel.
        others: how many are held constant.
        axis: name of the axis over examples and their number, where the program takes statistics
            of the batch, which are held constant; else None.
    """

    jaxpr: Any
    consts: Sequence[Any]
    entering: int
    others: int
    axis: tuple[str, int] | None = None

    @property
    def count(self) -> int:
        """Outputs of one example."""
        return self.jaxpr.outvars[0].aval.size

    @property
    def out_dtype(self) -> jnp.dtype:
        """The dtype of the outputs."""
        return self.jaxpr.outvars[0].aval.dtype


def trace_example(
    function: Function, entering: list[Any], others: Any, x: Any, axis: str | None = None
) -> Program:
    """Traces a function with a batch of one example.

    Args:
        function: ``(entering, others, batch) -> outputs (1, ...)``.
        entering: the leaves that enter the kernel.
        others: leaves that are held constant.
        x: a batch, of which only the shape of an example is used.
        axis: name of the axis over examples, if the function takes statistics along it.

    Returns:
        The program; its only result is a vector of outputs.
    """
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x)

    def one(entering: list[Any], others: Any, example: Any) -> Any:
        out = function(entering, others, jax.tree.map(lambda leaf: leaf[None], example))
        return jnp.reshape(out, -1)

    named = None if axis is None else (axis, jax.tree.leaves(x)[0].shape[0])
    closed = jax.make_jaxpr(one, axis_env=named and [named])(entering, others, example)
    jaxpr, consts = plain(closed)
    consts = [jnp.asarray(c) if isinstance(c, np.ndarray) else c for c in consts]
    return Program(jaxpr, consts, len(entering), len(jax.tree.leaves(others)), named)
