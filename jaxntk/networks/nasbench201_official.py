"""Reads the weights of the official LGA network into :class:`NasBench201`'s variables.

Names are those of the PyTorch module: ``stem.net.0.weight``, ``stack_cell{s}.{c}.options.{o}.op.1``
(option ``o`` = 5 * edge + operation), ``reduction{r}.conv_a.op.1``, ``top.lastact.0``,
``top.classifier``. The size of an option's kernel tells which convolution it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201 import EDGES

OPERATIONS_PER_EDGE = 5
STAGES = (1, 2, 3)

Weights = Mapping[str, np.ndarray]


def official_variables(weights: Weights, dtype: type[np.floating]) -> dict[str, Any]:
    """Renames and transposes official weights; running statistics are 0 and 1.

    Args:
        weights: the official parameters by name, kernels as (out, in, height, width).
        dtype: of the result.

    Returns:
        ``{"params": ..., "batch_stats": ...}`` for a network of the same channels and cells.

    Raises:
        InputError: a parameter is missing.
    """
    flat = {
        ("stem", "kernel"): _kernel(weights, "stem.net.0"),
        **_norm(weights, ("stem_norm",), "stem.net.1"),
        **_norm(weights, ("norm",), "top.lastact.0"),
        ("classifier", "kernel"): _get(weights, "top.classifier.weight").T,
        ("classifier", "bias"): _get(weights, "top.classifier.bias"),
    }
    for index in STAGES[:-1]:
        flat |= _reduction(weights, index)
    for stage in STAGES:
        flat |= _stage(weights, stage)
    params = traverse_util.unflatten_dict({path: leaf.astype(dtype) for path, leaf in flat.items()})
    return {"params": params, "batch_stats": _initial_statistics(flat, dtype)}


def count_cells(weights: Weights) -> int:
    """Counts the cells of one stage.

    Args:
        weights: the official parameters by name.

    Returns:
        Cells in the first stage.
    """
    return len({name.split(".")[1] for name in weights if name.startswith("stack_cell1.")})


def _get(weights: Weights, name: str) -> np.ndarray:
    if name not in weights:
        raise InputError(
            "weights", f"no {name!r}", "give a file with every parameter of the network"
        )
    return np.asarray(weights[name])


def _kernel(weights: Weights, name: str) -> np.ndarray:
    return _get(weights, f"{name}.weight").transpose(2, 3, 1, 0)


def _norm(weights: Weights, path: tuple[str, ...], name: str) -> dict:
    scale, bias = _get(weights, f"{name}.weight"), _get(weights, f"{name}.bias")
    return {(*path, "scale"): scale, (*path, "bias"): bias}


def _reduction(weights: Weights, index: int) -> dict:
    ours, theirs = f"reduction_{index}", f"reduction{index}"
    return {
        (ours, "conv_a", "kernel"): _kernel(weights, f"{theirs}.conv_a.op.1"),
        (ours, "conv_b", "kernel"): _kernel(weights, f"{theirs}.conv_b.op.1"),
        (ours, "shortcut", "kernel"): _kernel(weights, f"{theirs}.residual.1"),
        **_norm(weights, (ours, "norm_a"), f"{theirs}.conv_a.op.2"),
        **_norm(weights, (ours, "norm_b"), f"{theirs}.conv_b.op.2"),
    }


def _stage(weights: Weights, stage: int) -> dict:
    flat = {}
    for edge, (to, source) in enumerate(EDGES):
        options = range(OPERATIONS_PER_EDGE * edge, OPERATIONS_PER_EDGE * (edge + 1))
        for size in (1, 3):
            names = [
                [f"stack_cell{stage}.{cell}.options.{option}.op.1" for option in options]
                for cell in range(count_cells(weights))
            ]
            chosen = [_option_of_size(weights, candidates, size) for candidates in names]
            path = (f"stage_{stage}", f"edge_{to}_from_{source}", f"conv_{size}x{size}")
            flat[(*path, "kernel")] = np.stack([_kernel(weights, name) for name in chosen])
            flat[(*path, "bias")] = np.stack([_get(weights, f"{name}.bias") for name in chosen])
    return flat


def _option_of_size(weights: Weights, names: list[str], size: int) -> str:
    for name in names:
        weight = weights.get(f"{name}.weight")
        if weight is not None and weight.shape[-1] == size:
            return name
    raise InputError(
        "weights",
        f"no {size}x{size} convolution among {names[0]} .. {names[-1]}",
        "give a file with every parameter of the network",
    )


def _initial_statistics(flat: Mapping[tuple, np.ndarray], dtype: type[np.floating]) -> dict:
    stats: dict[tuple, np.ndarray] = {}
    for path, leaf in flat.items():
        if path[-1] == "scale":
            stats[(*path[:-1], "mean")] = np.zeros(leaf.shape, dtype)
            stats[(*path[:-1], "var")] = np.ones(leaf.shape, dtype)
        elif path[0].startswith("stage_") and path[-2] == "conv_1x1" and path[-1] == "bias":
            stats[(*path[:-2], "mean")] = np.zeros(leaf.shape, dtype)
            stats[(*path[:-2], "var")] = np.ones(leaf.shape, dtype)
    return traverse_util.unflatten_dict(stats)
