"""The study of what kernels see by frequency: its rows, that it goes on, its summary."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.program import compile_kernel
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics.frequency import frequency_response
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.runs.rows import read_rows
from jaxntk.runs.study import run_study
from jaxntk.spaces import nasbench201
from jaxntk.studies import frequency_bias
from jaxntk.studies.frequency_bias import FREQUENCY, model_names, prepare
from jaxntk.studies.frequency_config import FrequencyConfig, validate_frequency

CONFIG = FrequencyConfig(
    data="digits",
    side=16,
    frequencies=(1, 3, 5, 7),
    orientations=2,
    phases=3,
    num_images=5,
    num_bands=3,
    channels=2,
    patch_size=8,
    vintks=("pixel_values:sigma=1:features=4/sum", "bands:num=2/fourier_only"),
    num_seeds=2,
)


@pytest.fixture
def quick(monkeypatch):
    """Kernels that cost nothing: of the images blurred by as much as the seed says."""

    def kernel(x, seed, shift=0.0):
        side = x.shape[1]
        k = np.fft.fftfreq(side) * side
        blur = np.exp(-(0.02 + 0.02 * seed) * (k[:, None] ** 2 + k[None] ** 2))[..., None]
        seen = np.fft.ifft2(np.fft.fft2(x, axes=(1, 2)) * blur, axes=(1, 2)).real
        flat = seen.reshape(len(x), -1)
        return flat @ flat.T + shift

    def quick(self, arch, how=None):
        shift = 2.0 if self.model.patch is None else 0.0 if how is None else 1.0
        return kernel(self.x, self.init_seed, shift)

    monkeypatch.setattr(ModelKernels, "__call__", quick)


def run(out, config=CONFIG):
    console = Console(file=io.StringIO())
    return run_study(FREQUENCY, config, out, command="again", console=console)


def rows_of(out):
    return [row | {"seconds": None} for row in read_rows(out / "scores.jsonl")]


def test_there_is_a_row_for_each_kernel_and_seed(tmp_path, quick):
    summary = run(tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    names = model_names(CONFIG)
    assert names[:3] == ["linear model", "CNN", "ViT, NTK"]
    assert [(row["model"], row["seed"]) for row in rows] == [(n, s) for s in (0, 1) for n in names]
    assert [entry["model"] for entry in summary["models"]] == names
    linear, cnn, vit = summary["models"][:3]
    assert linear["high_over_low"] == pytest.approx(1, rel=1e-4)
    # A blur is blind to high frequencies, the more so the wider it is.
    assert 0 < vit["high_over_low_min"] < vit["high_over_low_max"] < 0.6
    # What is added to every entry does not move with a wave.
    assert cnn["high_over_low"] == pytest.approx(vit["high_over_low"], rel=1e-6)
    assert cnn["visibility_of_highest"] < vit["visibility_of_highest"]
    assert linear["bands_high_over_low"] == pytest.approx(1, rel=1e-3)
    assert vit["alignment_with_lowest_band"] > vit["alignment_with_highest_band"]
    assert (tmp_path / "run" / "frequency_bias.png").read_bytes().startswith(b"\x89PNG")


def test_rows_hold_what_the_kernel_of_the_waves_says(tmp_path, quick):
    run(tmp_path / "run")
    study = prepare(CONFIG)
    flat = study.waves.x.reshape(len(study.waves.x), -1).astype(np.float64)
    wanted = frequency_response(
        flat @ flat.T / flat.shape[1], study.waves.frequency, study.waves.wave
    )
    row = rows_of(tmp_path / "run")[0]
    assert row["power"] == pytest.approx(wanted.power.tolist())
    assert row["frequencies"] == [1, 3, 5, 7]
    np.testing.assert_allclose(study.natural[:-1].sum(axis=0), study.natural[-1], atol=1e-4)


@pytest.mark.parametrize("kept", [0, 1, 6])
def test_a_killed_run_goes_on_to_the_same_rows(tmp_path, quick, kept):
    summary = run(tmp_path / "whole")
    run(tmp_path / "cut")
    path = tmp_path / "cut" / "scores.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]) + b'{"torn')
    again = run(tmp_path / "cut")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert again["models"] == summary["models"]


@pytest.mark.slow
def test_the_kernel_of_the_cnn_is_that_of_the_images_it_is_given():
    """One program serves images of one number, whatever they are, and any seed."""
    study, arch = prepare(CONFIG), nasbench201.read(CONFIG.cell)
    x = study.natural[0]
    kernels = frequency_bias._cnn(CONFIG, lambda line: None)
    first, other = kernels.seeded(0).on(x)(arch), kernels.seeded(3).on(x + 1)(arch)
    assert kernels.compilations == 1
    network = NasBench201(10, CONFIG.channels, CONFIG.cells_per_stage, BatchNormMode.FROZEN)
    settings = KernelSettings(batch_norm="frozen", parameters="all")
    for gram, images, seed in ((first, x, 0), (other, x + 1, 3)):
        wanted = compile_kernel(cell_model(network), settings, images)(arch, seed)
        np.testing.assert_allclose(gram, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
    assert not np.allclose(first, other, rtol=1e-2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frequencies": (3, 1)}, "frequencies: got .*rising"),
        ({"frequencies": (1, 8)}, "frequencies: got 8"),
        ({"side": 18, "patch_size": 9}, "side: got 18"),
        ({"patch_size": 5}, "patch_size: got 5"),
        ({"num_bands": 40}, "num_bands: got 40"),
        ({"num_bands": 1}, "num_bands: got 1"),
        ({"num_seeds": 0}, "num_seeds: got 0"),
        ({"cell": "43231"}, "got '43231'"),
        ({"vit": "200:3x4"}, "got"),
        ({"vintks": ("bands/sum", "bands:num=4/sum")}, "vintks: got"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_frequency(dataclasses.replace(CONFIG, **changes))
