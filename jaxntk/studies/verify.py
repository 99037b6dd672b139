"""Compares our networks, kernels and metrics with what the official LGA code computed.

The file holds, for J cells and two batch-normalisation modes,

    x (n, h, w, c), y (n,), archs (J,), w/<official parameter name>,
    j.train.kernel, j.eval.kernel (n, n), j.{train,eval}.logits (n, classes),
    j.{train,eval}.mean_cond_fnorm_lga (4,)

"train" is batch normalisation with batch statistics everywhere; "eval" uses the running statistics
at initialisation (0 and 1) except inside cells. Its condition number comes from a non-symmetric
eigensolver and is no target: ours is held against numpy's ``eigvalsh`` on the same kernel.

Precisions are ``float64``, ``mixed`` (activations in float64, derivatives and kernel in float32)
and ``float32``. In float32 alone some inputs of a ReLU lie so close to 0 that rounding changes
their sign, and the kernel, whose derivatives jump there, moves by up to some percent of its largest
entry. Such a line is marked ``relu``: its logits are within the tolerance and so is everything in
``mixed``, where only the signs are different.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import ACTIVATIONS, PARAMETERS, KernelSettings, Precision
from jaxntk.metrics import Status, evaluate
from jaxntk.networks.model import Model
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_official import count_cells, official_variables
from jaxntk.networks.precision import check_x64
from jaxntk.spaces import nasbench201

MODES: dict[str, Literal["batch", "running"]] = {"train": "batch", "eval": "running"}
TOLERANCES: dict[Precision, float] = {"float64": 1e-6, "mixed": 1e-3, "float32": 1e-3}
SIGN_CHANGE_LIMIT = 0.1
"""Largest relative error in float32 that is put down to ReLU inputs that change sign."""
COMPARED = {"mean": 0, "frobenius": 2, "lga": 3}
"""Our metrics by their place in ``mean_cond_fnorm_lga``."""
PER_CELL = ("logits", "kernel", "mean_cond_fnorm_lga")


class Official(NamedTuple):
    """What the official code computed for one cell in one mode."""

    logits: Float[np.ndarray, "n classes"]
    kernel: Float[np.ndarray, "n n"]
    mean_cond_fnorm_lga: Float[np.ndarray, "4"]


@dataclass(frozen=True)
class Comparison:
    """How far one cell is from the official numbers, in one mode and precision.

    Args:
        dtype: precision.
        mode: ``train`` or ``eval``.
        arch: the cell.
        errors: relative errors by name; those of logits and kernel are relative to the largest
            entry, that of the condition number is relative to numpy's.
        tolerance: the largest error allowed.
    """

    dtype: str
    mode: str
    arch: str
    errors: Mapping[str, float]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance; NaN is not."""
        return all(error <= self.tolerance for error in self.errors.values())

    @property
    def within_sign_changes(self) -> bool:
        """Whether changed signs of ReLU inputs can explain what is beyond the tolerance."""
        kinked = all(error <= SIGN_CHANGE_LIMIT for error in self.errors.values())
        return self.dtype == "float32" and self.errors["logits"] <= self.tolerance and kinked


def verify(path: Path) -> Iterator[Comparison]:
    """Compares every cell of a file, in both modes, in float64, mixed and float32.

    Args:
        path: the file.

    Yields:
        One comparison a cell, mode and precision.

    Raises:
        InputError: the file is missing, damaged or of another layout, or x64 is not enabled.
    """
    check_x64("float64")
    arrays = read_golden(path)
    weights = {name[2:]: array for name, array in arrays.items() if name.startswith("w/")}
    network = NasBench201(
        num_classes=len(arrays["w/top.classifier.bias"]),
        channels=len(arrays["w/stem.net.0.weight"]),
        cells_per_stage=count_cells(weights),
    )
    model = cell_model(network)
    for dtype, tolerance in TOLERANCES.items():
        parameters = np.dtype(PARAMETERS[dtype]).type
        variables = jax.tree.map(jnp.asarray, official_variables(weights, parameters))
        x = jnp.asarray(arrays["x"], ACTIVATIONS[dtype])
        for mode, batch_norm in MODES.items():
            compute = _compute_fn(model, batch_norm, dtype, x.shape[1:])
            for index, arch in enumerate(arrays["archs"]):
                logits, gram = compute(variables, x, jnp.asarray(nasbench201.encode(str(arch))))
                official = Official(*(arrays[f"{index}.{mode}.{name}"] for name in PER_CELL))
                ours = np.asarray(logits), np.asarray(gram)
                errors = compare(*ours, official, arrays["y"])
                yield Comparison(dtype, mode, str(arch), errors, tolerance)


def compare(
    logits_NxC: Float[np.ndarray, "n classes"],
    gram_NxN: Float[np.ndarray, "n n"],
    official: Official,
    labels_N: Int[np.ndarray, " n"],
) -> dict[str, float]:
    """Returns our relative errors against the official numbers of one cell.

    Args:
        logits_NxC: our logits.
        gram_NxN: our kernel.
        official: theirs.
        labels_N: classes of the images.

    Returns:
        Errors by name. A zero kernel has no metrics; where theirs is zero, ours must be exactly so.
    """
    errors = {
        "logits": _relative(logits_NxC, official.logits),
        "kernel": _relative(gram_NxN, official.kernel),
    }
    scores = evaluate(gram_NxN, labels_N)
    if not official.kernel.any():
        zero = all(score.status is Status.ZERO_KERNEL for score in scores.values())
        return errors | {"zero": 0.0 if zero else np.inf}
    for name, place in COMPARED.items():
        errors[name] = _relative(scores[name].value, official.mean_cond_fnorm_lga[place])
    eigenvalues = np.linalg.eigvalsh(gram_NxN.astype(np.float64))
    if scores["condition_number"].valid:
        cond = eigenvalues[-1] / eigenvalues[0]
        errors["cond"] = _relative(scores["condition_number"].value, cond)
    return errors


def read_golden(path: Path) -> dict[str, np.ndarray]:
    """Reads a file of official numbers and checks its layout.

    Args:
        path: the file.

    Returns:
        Its arrays by name.

    Raises:
        InputError: the file is missing or damaged, or lacks an array.
    """
    if not path.is_file():
        raise InputError(
            "file", f"{path}, which does not exist", "give an .npz of official numbers"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        cure = "the file is truncated or no .npz of plain arrays; write it again"
        raise InputError("file", f"{path} ({error})", cure) from error
    needed = ["x", "y", "archs", "w/stem.net.0.weight", "w/top.classifier.bias"]
    needed += [
        f"{index}.{mode}.{name}"
        for index in range(len(arrays.get("archs", ())))
        for mode in MODES
        for name in PER_CELL
    ]
    missing = [name for name in needed if name not in arrays]
    if missing:
        cure = f"see the layout at the top of jaxntk.studies.verify; {len(missing)} are missing"
        raise InputError("file", f"{path} without {missing[0]!r}", cure)
    _check_shapes(path, arrays)
    return arrays


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    x, classes = arrays["x"], len(arrays["w/top.classifier.bias"])
    wanted = {"x": (len(x), *x.shape[1:3], arrays["w/stem.net.0.weight"].shape[1]), "y": (len(x),)}
    per_cell = dict(zip(PER_CELL, ((len(x), classes), (len(x), len(x)), (4,)), strict=True))
    for index in range(len(arrays["archs"])):
        for mode in MODES:
            wanted |= {f"{index}.{mode}.{name}": shape for name, shape in per_cell.items()}
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            got = f"{path} with {name!r} of shape {arrays[name].shape}"
            raise InputError("file", got, f"its other arrays ask for {shape}")


def _compute_fn(
    model: Model,
    batch_norm: Literal["batch", "running"],
    dtype: Precision,
    image: tuple[int, ...],
) -> Callable[[Any, Array, Array], tuple[Array, Array]]:
    settings = KernelSettings(batch_norm=batch_norm, dtype=dtype)
    kernels = layer_kernel_fn(model, settings, image)
    logits = model.apply(settings.mode, None)

    def compute(variables: Any, x: Array, arch: Array) -> tuple[Array, Array]:
        return logits(variables, x, arch), total(kernels(variables, x, arch))

    return jax.jit(compute)


def _relative(ours: np.ndarray | float, theirs: np.ndarray | float) -> float:
    difference = np.max(np.abs(np.asarray(ours, np.float64) - theirs))
    scale = np.max(np.abs(theirs))
    return float(difference / scale) if scale > 0 else float(difference)


def print_comparisons(comparisons: Iterable[Comparison]) -> bool:
    """Prints a line a comparison, and counts the verdicts.

    Args:
        comparisons: what :func:`verify` yields.

    Returns:
        Whether none differs by more than rounding explains.
    """
    words: list[str] = []
    exact: set[tuple[str, str]] = set()
    for item in comparisons:
        errors = "  ".join(f"{name} {error:.1e}" for name, error in item.errors.items())
        cell = (item.mode, item.arch)
        if item.passed:
            word = "ok"
            exact |= {cell} if item.dtype == "mixed" else set()
        else:
            word = "relu" if item.within_sign_changes and cell in exact else "FAIL"
        print(f"{word:4} {item.dtype:7} {item.mode:5} {errors}  {item.arch}", flush=True)
        words.append(word)
    limits = ", ".join(f"{tolerance:g} in {dtype}" for dtype, tolerance in TOLERANCES.items())
    print(
        f"{words.count('ok')} of {len(words)} lines within the relative tolerance ({limits}); "
        f"{words.count('relu')} beyond it by ReLU inputs that change sign in float32; "
        f"{words.count('FAIL')} differ"
    )
    return "FAIL" not in words
