"""Plane waves have one frequency each, and the same energy."""

import numpy as np
import pytest

from jaxntk.data.plane_waves import plane_waves
from jaxntk.errors import InputError
from jaxntk.studies.frequency_config import FrequencyConfig

DIGITS = FrequencyConfig(side=16, frequencies=(1, 2, 3, 4, 5, 6, 7))


def test_each_wave_has_its_frequency_alone():
    waves = plane_waves(16, (1, 3, 6), orientations=4, phases=5, channels=2)
    assert waves.x.shape == (3 * 4 * 5, 16, 16, 2)
    np.testing.assert_allclose((waves.x**2).mean(axis=(1, 2, 3)), 1, rtol=1e-5)
    for image, frequency in zip(waves.x[..., 0], waves.frequency, strict=True):
        spectrum = np.abs(np.fft.fft2(image)) ** 2
        row, column = np.unravel_index(np.argmax(spectrum), spectrum.shape)
        cycles = np.hypot(*(np.fft.fftfreq(16)[[row, column]] * 16))
        assert abs(cycles - frequency) < 0.5, (cycles, frequency)
        mirrored = spectrum[-row % 16, -column % 16]
        assert spectrum[row, column] + mirrored == pytest.approx(spectrum.sum(), rel=1e-5)


@pytest.mark.parametrize("preset", [FrequencyConfig(), DIGITS])
def test_no_two_waves_are_alike(preset):
    """Up to their phase: otherwise one image would have two frequencies."""
    waves = plane_waves(
        preset.side,
        preset.frequencies,
        orientations=preset.orientations,
        phases=preset.phases,
        channels=1,
    )
    first = waves.phase == 0
    spectra = np.abs(np.fft.fft2(waves.x[first, ..., 0]))
    peaks = {tuple(np.argwhere(each > each.max() / 2).ravel()) for each in spectra}
    assert len(peaks) == first.sum() == len(preset.frequencies) * preset.orientations


def test_phases_of_a_wave_are_shifts_of_it():
    waves = plane_waves(8, (2,), orientations=1, phases=4, channels=1)
    for at in range(1, 4):
        # A quarter of a cycle of 2 cycles in 8 pixels is one pixel.
        np.testing.assert_allclose(waves.x[at], np.roll(waves.x[0], -at, axis=1), atol=1e-6)


def test_phases_of_a_wave_add_up_to_nothing():
    waves = plane_waves(16, (2, 5), orientations=3, phases=4)
    for frequency in (2, 5):
        for wave in range(3):
            same = (waves.frequency == frequency) & (waves.wave == wave)
            np.testing.assert_allclose(waves.x[same].sum(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frequencies": (8,)}, "frequencies: got 8; give 1 to 7 cycles"),
        ({"frequencies": (0,)}, "frequencies: got 0"),
        ({"frequencies": (2, 2)}, "frequencies: got .*give each once"),
        ({"orientations": 5}, "orientations: got 5; 1 cycles an image have 4 directions"),
        ({"orientations": 0}, "orientations: got 0"),
        ({"phases": 2}, "phases: got 2; give at least 3"),
    ],
)
def test_what_an_image_cannot_hold_is_refused(changes, words):
    settings = {"frequencies": (1,), "orientations": 1, "phases": 3} | changes
    frequencies = settings.pop("frequencies")
    with pytest.raises(InputError, match=words):
        plane_waves(16, frequencies, **settings)
