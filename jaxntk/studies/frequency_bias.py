"""How visible are an image's frequencies to a vision transformer's kernel? From start to figure.

Kernels of a linear model of the pixels, of a convolutional network and of a vision transformer (its
NTK, and ViNTKs, which are reconstructions) are taken at initialisation, of plane waves and of
natural images split into rings of spatial frequency. A row is one kernel of one seed; it is on disk
before the next is begun. In spite of its name this measures no spectral bias, which is about the
frequency of the function that is learned: see :mod:`jaxntk.metrics.frequency`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxntk.data.batches import make_batch, resized, standardize
from jaxntk.data.images import load_images
from jaxntk.data.plane_waves import PlaneWaves, plane_waves
from jaxntk.kernels.fourier import ViNTK, bands, vintk_kernel
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics.alignment import double_centred
from jaxntk.metrics.dynamics import cosine
from jaxntk.metrics.frequency import (
    frequency_response,
    learned_parts,
    phase_targets,
)
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.precision import check_x64
from jaxntk.networks.vit import transformer_model
from jaxntk.results.frequency_plot import frequency_figure
from jaxntk.results.frequency_table import frequency_table, summary_rows
from jaxntk.runs import run_folder
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.publish import Publication
from jaxntk.runs.rows import (
    append_row,
    number_or_none,
)
from jaxntk.runs.study import Rows, Study
from jaxntk.spaces import autoformer, nasbench201
from jaxntk.studies.frequency_config import FrequencyConfig, validate_frequency

NAME = "frequency_bias"
FIGURE, TABLE = "frequency_bias.png", "frequency_bias.csv"
KEYS = ("model", "seed")
"""Fields that identify a row."""
LINEAR, CNN, VIT = "linear model", "CNN", "ViT"
CHANNELS, CLASSES = 3, 10
TIMES = tuple(np.geomspace(0.01, 100, 81).tolist())
"""Of gradient flow, in units of the inverse mean eigenvalue."""

KernelOf = Callable[[Float[np.ndarray, "n s s c"]], Float[np.ndarray, "n n"]]


@dataclass(frozen=True, eq=False)
class FrequencyStudy:
    """Everything a configuration determines before the first kernel.

    Args:
        config: the configuration.
        waves: plane waves.
        natural: rings of natural images, low frequencies first, and the images themselves last.
        digest: SHA-256 of both.
    """

    config: FrequencyConfig
    waves: PlaneWaves
    natural: Float[np.ndarray, "parts n s s c"]
    digest: str


def prepare(config: FrequencyConfig) -> FrequencyStudy:
    """Checks a configuration and makes its images; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the configuration or the data.
    """
    validate_frequency(config)
    check_x64(config.dtype)
    waves = plane_waves(
        config.side,
        config.frequencies,
        orientations=config.orientations,
        phases=config.phases,
        channels=CHANNELS,
    )
    dataset, _ = standardize(load_images(config.data, data_dir=config.data_dir))
    chosen = make_batch(dataset, config.num_images, seed=config.batch_seed)
    batch = resized(chosen, config.side)
    colours = np.repeat(batch.x, CHANNELS, axis=-1) if batch.x.shape[-1] == 1 else batch.x
    rings = np.asarray(bands(jnp.asarray(colours), config.num_bands))
    natural = np.concatenate([rings, colours[None]])
    # Not of the rings, whose last bits depend on the device.
    return FrequencyStudy(config, waves, natural, run_folder.digest_of(chosen.x))


def model_names(config: FrequencyConfig) -> list[str]:
    """Lists the kernels of a configuration.

    Args:
        config: the configuration.

    Returns:
        Their names, as rows and figure have them.
    """
    return [LINEAR, CNN, *_vintks(config)]


def _vintks(config: FrequencyConfig) -> dict[str, ViNTK | None]:
    """Kernels of the transformer by their name; None for the NTK."""
    found = [ViNTK.parse(text) for text in config.vintks]
    return {f"{VIT}, NTK": None} | {f"{VIT}, {how}": how for how in found}


def compute_missing(study: FrequencyStudy, out: Path, console: Console) -> None:
    """Takes every kernel whose row is not there yet.

    Args:
        study: the study.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the folder cannot be written to, or a kernel does not fit into memory.
    """
    config, path = study.config, out / run_folder.SCORES
    done = set(run_folder.rows_by_key(path, KEYS))
    todo = [(model, seed) for seed in config.seeds for model in model_names(config)]
    todo = [key for key in todo if key not in done]
    if todo:
        rows = frequency_rows(study, todo, console)
        for _, row in zip(track(todo, "kernels", console), rows, strict=True):
            append_row(path, row)
    else:
        say_complete(out, console)


def frequency_rows(
    study: FrequencyStudy, todo: list[tuple[str, int]], console: Console
) -> Iterator[dict[str, Any]]:
    """Takes kernels and reads off what they see.

    Args:
        study: the study.
        todo: model and seed of each row.
        console: told of what is compiled.

    Yields:
        The rows, in this order.

    Raises:
        InputError: a kernel does not fit into memory.
    """
    config = study.config
    say = partial(console.print, highlight=False)
    cell = nasbench201.read(config.cell)
    vit = autoformer.from_string(config.vit, config.autoformer_space)
    kernels = {CNN: _cnn(config, say), VIT: _vit(config, say)}
    seeded = {
        (name, seed): each.seeded(seed) for name, each in kernels.items() for seed in config.seeds
    }
    vintks = _vintks(config)

    def kernel_of(model: str, seed: int) -> KernelOf:
        if model == LINEAR:
            return _linear
        if model == CNN:
            return lambda x: seeded[CNN, seed].on(x)(cell)
        return lambda x: vintk_kernel(partial(seeded[VIT, seed].on(x), vit), vintks[model])

    for model, seed in todo:
        start = time.perf_counter()
        row = _row(study, kernel_of(model, seed))
        yield {"model": model, "seed": seed} | row | {"seconds": time.perf_counter() - start}


def _row(study: FrequencyStudy, kernel: KernelOf) -> dict[str, Any]:
    """Reads off what a kernel sees of plane waves and of the rings of natural images."""
    waves, natural = study.waves, study.natural
    gram = np.asarray(kernel(waves.x), np.float64)
    response = frequency_response(gram, waves.frequency, waves.wave)
    targets = phase_targets(waves.frequency, waves.phase)
    learned = learned_parts(gram, targets, np.array(TIMES))
    parts, num = natural.shape[:2]
    joint = np.asarray(kernel(natural.reshape(parts * num, *natural.shape[2:])), np.float64)
    blocks = [joint[at : at + num, at : at + num] for at in range(0, parts * num, num)]
    energies = [float(np.mean(np.var(ring, axis=0))) for ring in natural[:-1]]
    power = [
        float(np.trace(block) - block.mean() * num) / num / energy
        for block, energy in zip(blocks, energies, strict=False)
    ]
    return {
        "frequencies": response.frequencies.tolist(),
        "power": [float(p) for p in response.power],
        "visibility": [number_or_none(v) for v in response.visibility],
        "top_energy": [float(e) for e in response.top_energy],
        "high_over_low": number_or_none(response.high_over_low),
        "learned": [[float(part) for part in each] for each in learned.T],
        "band_energy": energies,
        "band_power": power,
        "band_alignment": [
            cosine(double_centred(block), double_centred(blocks[-1])).to_json()["value"]
            for block in blocks[:-1]
        ],
    }


def _linear(x: Float[np.ndarray, "n s s c"]) -> Float[np.ndarray, "n n"]:
    flat = x.reshape(len(x), -1).astype(np.float64)
    return flat @ flat.T / flat.shape[1]


def _cnn(config: FrequencyConfig, say: Callable[[str], None]) -> ModelKernels:
    network = NasBench201(CLASSES, config.channels, config.cells_per_stage)
    settings = KernelSettings(batch_norm="frozen", parameters="all", dtype=config.dtype)
    return ModelKernels(cell_model(network), settings, _nothing(config), say=say)


def _vit(config: FrequencyConfig, say: Callable[[str], None]) -> ModelKernels:
    network = AutoFormer(config.autoformer_space, CLASSES, config.patch_size)
    settings = KernelSettings(parameters="all", dtype=config.dtype)
    return ModelKernels(transformer_model(network), settings, _nothing(config), say=say)


def _nothing(config: FrequencyConfig) -> Float[np.ndarray, "n s s c"]:
    """Images until there are others."""
    return np.zeros((1, config.side, config.side, CHANNELS), np.float32)


def summarize(study: FrequencyStudy, rows: Rows, console: Console) -> dict[str, Any]:
    """Takes means over seeds.

    Args:
        study: the study.
        rows: the rows by model and seed.
        console: not needed.

    Returns:
        The summary.
    """
    config = study.config
    ordered = [rows[model, seed] for model in model_names(config) for seed in config.seeds]
    return {
        "data": {"name": config.data, "num_images": config.num_images, "side": config.side},
        "models": summary_rows(ordered),
    }


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes table and figure of a run.

    Args:
        rows: the rows by model and seed.
        summary: of :func:`summarize`.

    Returns:
        One table and one figure.
    """
    models = [entry["model"] for entry in summary["models"]]
    ordered = [row for model in models for (name, _), row in rows.items() if name == model]
    return Publication(
        tables={TABLE: summary["models"]},
        figures={FIGURE: frequency_figure(ordered, TIMES)},
        shown=[frequency_table(summary["models"])],
    )


FREQUENCY = Study(NAME, KEYS, validate_frequency, prepare, compute_missing, summarize, report)
