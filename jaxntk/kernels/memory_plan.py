"""How many images a kernel is computed on at a time, so that it fits into the device's memory."""

from dataclasses import replace

from jaxntk.errors import InputError
from jaxntk.kernels.memory import MemoryEstimate, largest_tile, readable
from jaxntk.kernels.program import KernelProgram, kernel_program
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.model import Model

SHARE = 0.75
"""Part of the available memory that an estimate may fill: estimates are good to 30 %."""


def plan_memory(
    model: Model, settings: KernelSettings, x_shape: tuple[int, ...]
) -> tuple[KernelProgram, MemoryEstimate]:
    """Prepares a kernel, in tiles if it does not fit into memory otherwise.

    A tile in the settings is kept. Without one all images are computed at once if the estimate is
    within ``SHARE`` of the memory that the device has left, else in the largest tile that is.

    Args:
        model: the network.
        settings: the kernel wanted.
        x_shape: of the images or of their parts, as
            :func:`~jaxntk.kernels.program.kernel_fn` takes it.

    Returns:
        The program, whose settings name the tile, and the memory that it will take.

    Raises:
        InputError: not even a tile of one image fits, or the tile that is asked for does not.
    """
    program = kernel_program(model, settings, x_shape)
    estimate = program.estimate()
    if estimate.available is None or estimate.peak.total <= SHARE * estimate.available:
        return program, estimate
    if settings.tile is not None:
        # What was chosen by hand may fill the memory to the brim.
        if estimate.peak.total <= estimate.available:
            return program, estimate
        got = f"{settings.tile}, which takes {estimate}"
        raise InputError("tile", got, "give a smaller one, or none to have it chosen")
    images = x_shape[-4]
    programs: dict[int, KernelProgram] = {images: program}

    def bytes_of(tile: int) -> int:
        if tile not in programs:
            programs[tile] = kernel_program(model, replace(settings, tile=tile), x_shape)
        return programs[tile].estimate().peak.total

    budget = int(SHARE * estimate.available)
    try:
        tile = largest_tile(bytes_of, images, budget)
    except InputError as error:
        got = f"{images} images, which need {readable(bytes_of(1))} one at a time"
        cure = f"give fewer: {readable(budget)} of {estimate.device} may be used"
        raise InputError("num_images", got, cure) from error
    return programs[tile], programs[tile].estimate()


def check_memory(
    needed: int | None, available: int | None, tile: int | None, *, chunk: int | None = None
) -> None:
    """Refuses a compiled kernel that cannot fit into memory, whatever was estimated.

    Args:
        needed: bytes, as the compiler reports them; None where it does not.
        available: bytes, or None where it is not known.
        tile: images computed at a time, or None for all.
        chunk: cells computed together, for those of a population.

    Raises:
        InputError: more is needed than there is.
    """
    if needed is None or available is None or needed <= available:
        return
    if chunk is not None:
        got = f"{chunk}, kernels of {readable(needed)} together on {readable(available)}"
        raise InputError("chunk", got, "give a smaller one, or fewer images")
    got = f"a kernel of {readable(needed)} on {readable(available)}"
    if tile is None:
        cure = "give a tile (images computed at a time), or fewer num_images"
        raise InputError("num_images", got, cure)
    raise InputError("tile", f"{tile}, {got}", "give a smaller one, or fewer num_images")
