"""The kernel of one cell by per-example gradients: the baseline of the benchmarks.

Operations are resolved in Python, so each cell is a program of its own that compiles anew. Only
parameters on edges that reach the output are differentiated, and cells are not stacked, so no time
goes into gradients that are zero anyway.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from jaxntk.kernels.parameters import Path, enters_lga
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.spaces.nasbench201 import EDGES, OPS, live_edges

# A parameter of the stages is one array a cell, any other a single array.
Entering = Mapping[Path, Array | tuple[Array, ...]]


class PerCell:
    """One array a cell in place of a stacked array, a single leaf to JAX.

    The gradient of a slice of a stacked array is as large as the whole; that of an array of its own
    is not.

    Args:
        arrays: one a cell.
    """

    def __init__(self, arrays: tuple[Array, ...]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: int) -> Array:
        return self._arrays[index]


def used_paths(params: Mapping[str, Any], arch: tuple[int, ...]) -> list[Path]:
    """Lists the parameters of the choice ``lga`` that the output of a cell's network depends on.

    Args:
        params: the collection ``params`` of :class:`~jaxntk.networks.nasbench201.NasBench201`.
        arch: six operations, 0..4, as Python numbers.

    Returns:
        Their paths.
    """
    live = live_edges(arch)
    convolutions = {
        (f"edge_{to}_from_{source}", OPS[op].removeprefix("nor_"))
        for (to, source), op, alive in zip(EDGES, arch, live, strict=True)
        if alive
    }

    def used(path: Path) -> bool:
        return not path[0].startswith("stage_") or path[1:3] in convolutions

    return [path for path in traverse_util.flatten_dict(params) if enters_lga(path) and used(path)]


def naive_kernel(
    params: Mapping[str, Any], x: Float[Array, "n h w c"], arch: tuple[int, ...]
) -> Float[Array, "n n"]:
    """Returns the kernel of the sum of logits, batch normalisation frozen, as ``J J^T``.

    Row i of J is the gradient of the sum of image i's logits with respect to the parameters
    (choice ``lga``); mean and variance are those of the whole batch, held constant.

    Args:
        params: the collection ``params``.
        x: the images, standardised.
        arch: six operations, 0..4, as Python numbers.

    Returns:
        The kernel.
    """
    flat: dict[Path, Any] = traverse_util.flatten_dict(params)
    statistics = batch_statistics(params, x, arch)

    def logit_sum(entering: Entering, image: Float[Array, "h w c"]) -> Float[Array, ""]:
        leaves = {path: PerCell(v) if isinstance(v, tuple) else v for path, v in entering.items()}
        merged = traverse_util.unflatten_dict({**flat, **leaves})
        logits = plain_logits(
            merged, image[None], arch, lambda path, x: standardize(x, *statistics[path])
        )
        return logits.sum()

    entering: Entering = {
        path: tuple(flat[path]) if path[0].startswith("stage_") else flat[path]
        for path in used_paths(params, arch)
    }
    jacobian = jax.vmap(jax.grad(logit_sum), in_axes=(None, 0))(entering, x)
    rows = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)]
    return sum((row @ row.T for row in rows), start=jnp.zeros((len(x), len(x)), x.dtype))
