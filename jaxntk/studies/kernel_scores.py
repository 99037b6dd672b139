"""Scores of an architecture by its NTK and by ViNTKs, which share the kernels they are of."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxntk.kernels.fourier import NTK, FourierMap, ViNTK, vintk_kernel
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.program import PARAMETERS
from jaxntk.metrics import Score, evaluate


class KernelScores(NamedTuple):
    """What one kernel of a network says.

    Args:
        kernel: its name.
        scores: by metric.
        parts: seconds of the kernels that it is made of, by name, compilation apart.
        metric_seconds: of its metrics.
    """

    kernel: str
    scores: Mapping[str, Score]
    parts: Mapping[str, float]
    metric_seconds: float

    @property
    def seconds(self) -> float:
        """What this kernel by itself takes."""
        return sum(self.parts.values()) + self.metric_seconds


def scores_of(
    kernels: ModelKernels,
    arch: Int[np.ndarray, " genes"],
    variants: Mapping[str, ViNTK | None],
    labels_N: Int[np.ndarray, " n"],
    metrics: Sequence[str],
) -> Iterator[KernelScores]:
    """Scores one network by every kernel; each part of a ViNTK is computed once.

    Args:
        kernels: what computes them.
        arch: the network.
        variants: ViNTKs by name; None for the NTK itself.
        labels_N: of the images.
        metrics: to read off each kernel.

    Yields:
        What each kernel says, in the order of `variants`.

    Raises:
        InputError: a kernel does not fit into memory.
    """
    found: dict[FourierMap | None, tuple[np.ndarray, float]] = {}
    for name, how in variants.items():
        used: list[FourierMap | None] = []

        def kernel(
            part: FourierMap | None, used: list[FourierMap | None] = used
        ) -> Float[np.ndarray, "n n"]:
            used.append(part)
            if part not in found:
                kernels.prepare(arch, part)
                start = time.perf_counter()
                gram = kernels(arch, part)
                found[part] = (gram, time.perf_counter() - start)
            return found[part][0]

        gram = vintk_kernel(kernel, how)
        parts = {NTK if part is None else str(part): found[part][1] for part in used}
        start = time.perf_counter()
        scores = evaluate(gram, labels_N, metrics, kernel_dtype=PARAMETERS[kernels.settings.dtype])
        yield KernelScores(name, scores, parts, time.perf_counter() - start)
