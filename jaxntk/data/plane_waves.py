"""Images of one spatial frequency each: plane waves, equal in energy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from jaxntk.errors import InputError


class PlaneWaves(NamedTuple):
    """Waves and what they are.

    Args:
        x: the images, the same in every channel, mean square 1.
        frequency: cycles an image of each, as asked for.
        wave: number of the orientation of each among those of its frequency.
        phase: of each, in parts of a cycle.
    """

    x: Float32[np.ndarray, "n s s c"]
    frequency: Int[np.ndarray, " n"]
    wave: Int[np.ndarray, " n"]
    phase: np.ndarray


def plane_waves(
    side: int, frequencies: tuple[int, ...], *, orientations: int, phases: int, channels: int = 3
) -> PlaneWaves:
    r"""Makes ``\sqrt 2 \cos(2 \pi (k \cdot u + \phi))`` for wave vectors k of given lengths.

    Wave vectors are whole cycles along both axes, so that a wave has one frequency and shifting its
    phase shifts the image. The length of each rounds to its frequency, so that no wave has two; of
    those that do, the ones nearest to evenly spread directions are taken.

    Args:
        side: height and width, pixels.
        frequencies: rounded lengths of the wave vectors, cycles an image, below half the side.
        orientations: directions of each, over half a turn.
        phases: of each, evenly over a cycle, at least 3: fewer do not see every shift alike.
        channels: of the images.

    Returns:
        The waves, ordered by frequency, orientation and phase.

    Raises:
        InputError: a frequency that the image cannot hold or that is there twice, fewer directions
            than are asked for, or too few orientations or phases.

    Example:
        >>> waves = plane_waves(8, (1, 2), orientations=2, phases=4, channels=1)
        >>> waves.x.shape, float(round((waves.x**2).mean(), 6))
        ((16, 8, 8, 1), 1.0)
    """
    if len(set(frequencies)) < len(frequencies):
        raise InputError("frequencies", list(frequencies), "give each once")
    for frequency in frequencies:
        if not 1 <= frequency < side / 2:
            cure = f"give 1 to {(side - 1) // 2} cycles for images of {side} pixels"
            raise InputError("frequencies", frequency, cure)
    if orientations < 1:
        raise InputError("orientations", orientations, "give at least 1")
    if phases < 3:
        raise InputError("phases", phases, "give at least 3")
    rows, columns = np.meshgrid(*[np.arange(side) / side] * 2, indexing="ij")
    images, about = [], []
    for frequency in frequencies:
        for wave, k in enumerate(_wave_vectors(side, frequency, orientations)):
            for phase in np.arange(phases) / phases:
                turns = k[0] * rows + k[1] * columns + phase
                images.append(np.sqrt(2) * np.cos(2 * np.pi * turns))
                about.append((frequency, wave, phase))
    x = np.repeat(np.stack(images)[..., None], channels, axis=-1).astype(np.float32)
    of_frequency, of_wave, of_phase = (np.array(each) for each in zip(*about, strict=True))
    return PlaneWaves(x, of_frequency, of_wave, of_phase)


def _wave_vectors(side: int, frequency: int, orientations: int) -> Int[np.ndarray, "waves 2"]:
    """Chooses wave vectors whose length rounds to a frequency, up to their sign."""
    most = min(frequency + 1, (side - 1) // 2)
    grid = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 2, indexing="ij"), axis=-1)
    vectors = grid.reshape(-1, 2)
    half = (vectors[:, 0] > 0) | ((vectors[:, 0] == 0) & (vectors[:, 1] > 0))
    ring = np.abs(np.hypot(*vectors.T) - frequency) < 0.5
    vectors = vectors[half & ring]
    if len(vectors) < orientations:
        cure = f"{frequency} cycles an image have {len(vectors)} directions at {side} pixels"
        raise InputError("orientations", orientations, cure)
    angles = np.arctan2(vectors[:, 0], vectors[:, 1]) % np.pi
    chosen: list[int] = []
    for wanted in np.pi * np.arange(orientations) / orientations:
        away = np.abs((angles - wanted + np.pi / 2) % np.pi - np.pi / 2)
        away[chosen] = np.inf
        chosen.append(int(np.argmin(away)))
    return vectors[chosen]
