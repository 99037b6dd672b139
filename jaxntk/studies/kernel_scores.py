"""The NTK of an architecture and its ViNTKs, which share the kernels that they are made of."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxntk.kernels.fourier import NTK, FourierMap, ViNTK, vintk_kernel

Gram = Float[np.ndarray, "n n"]


class Taken(NamedTuple):
    """One kernel of an architecture.

    Args:
        kernel: its name.
        gram_NxN: the kernel.
        parts: seconds of the kernels that it is made of, by name, compilation apart.
        seen: what the network saw for them, in the same order.
    """

    kernel: str
    gram_NxN: Gram
    parts: Mapping[str, float]
    seen: tuple[FourierMap | None, ...]


def kernels_of(
    compute: Callable[[FourierMap | None], Gram],
    prepare: Callable[[FourierMap | None], None],
    variants: Mapping[str, ViNTK | None],
) -> Iterator[Taken]:
    """Takes every kernel of one architecture; each part of a ViNTK is computed once.

    Args:
        compute: the kernel on what a map gives; on images for None.
        prepare: compiles and draws what that needs, so that it is not timed.
        variants: ViNTKs by name; None for the NTK itself.

    Yields:
        The kernels, in the order of `variants`.

    Raises:
        InputError: a kernel does not fit into memory.
    """
    found: dict[FourierMap | None, tuple[Gram, float]] = {}
    for name, how in variants.items():
        used: list[FourierMap | None] = []

        def kernel(part: FourierMap | None, used: list[FourierMap | None] = used) -> Gram:
            used.append(part)
            if part not in found:
                prepare(part)
                start = time.perf_counter()
                gram = compute(part)
                found[part] = (gram, time.perf_counter() - start)
            return found[part][0]

        gram = vintk_kernel(kernel, how)
        seconds = {NTK if part is None else str(part): found[part][1] for part in used}
        yield Taken(name, gram, seconds, tuple(dict.fromkeys(used)))
