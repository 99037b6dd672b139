"""Does a kernel that sees Fourier features rank vision transformers better? Start to figure.

A row is one network and one kernel, the NTK or one of the ViNTKs, with every metric; it is on disk
before the next is begun, so that a run which is killed at any moment goes on to the same rows.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxntk.data.batches import Batch, Standardization, make_batch, resized, standardize
from jaxntk.data.images import load_images
from jaxntk.data.reduced import some_classes
from jaxntk.data.vitbench101 import Networks, load_vitbench101
from jaxntk.errors import InputError
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import evaluate
from jaxntk.networks.model import Model
from jaxntk.networks.pit_classes import shape_classes
from jaxntk.networks.precision import check_x64
from jaxntk.networks.registry import FAMILIES
from jaxntk.results.vintk_plot import vintk_figure
from jaxntk.results.vintk_table import terminal_table
from jaxntk.runs import run_folder
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.publish import Publication
from jaxntk.runs.rows import append_row
from jaxntk.runs.study import Rows, Study
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import written
from jaxntk.studies.kernel_scores import kernels_of
from jaxntk.studies.vintk_config import VintkConfig, validate_vintk
from jaxntk.studies.vintk_summary import rule_entries, vintk_entries

FIGURE, TABLE, RULE = "vintk.png", "vintk.csv", "vintk_rule.csv"
NAME = "vintk_vitbench101"
KEYS = ("set", "name", "kernel")
"""Fields that identify a row."""


@dataclass(frozen=True, eq=False)
class VintkStudy:
    """Everything a configuration determines before the first kernel.

    Args:
        config: the configuration.
        sets: the networks of each set, by its name.
        costs: #params, FLOPs, depth and width of the networks of each set.
        batch: the images, standardised and enlarged.
        standardization: what was subtracted from and divided out of the pixels.
        num_classes: of the data.
        digest: SHA-256 of images, labels and accuracies.
    """

    config: VintkConfig
    sets: Mapping[str, Networks]
    costs: Mapping[str, Mapping[str, Float[np.ndarray, " num"]]]
    batch: Batch
    standardization: Standardization
    num_classes: int
    digest: str


def prepare(config: VintkConfig) -> VintkStudy:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the configuration, the table or the data.
    """
    validate_vintk(config)
    if config.table is None:
        raise InputError("table", None, "name ViT-Bench-101's CSV file: --table FILE")
    check_x64(config.dtype)
    read = load_vitbench101(config.table)
    sets = {name: networks.first(config.max_archs) for name, networks in read.items()}
    dataset, numbers = standardize(load_images(config.data, data_dir=config.data_dir))
    few = some_classes(dataset, config.batch_classes, config.batch_seed)
    chosen = make_batch(few, config.num_images, split=config.split, seed=config.batch_seed)
    batch = resized(chosen, config.image_size)
    sizes = {
        "image_size": config.image_size,
        "in_channels": batch.x.shape[-1],
        "num_classes": dataset.num_classes,
    }
    costs = {
        name: {
            key: value.astype(np.float64)
            for key, value in SPACES[each.space].costs(each.archs, **sizes)._asdict().items()
        }
        for name, each in sets.items()
    }
    _ = shape_classes(config.num_shape_classes)
    truths = (each for networks in sets.values() for each in networks.accuracies.values())
    archs = (networks.archs for networks in sets.values())
    # Not of the enlarged images, whose last bits depend on the device.
    digest = run_folder.digest_of(chosen.x, chosen.y, *archs, *truths)
    return VintkStudy(config, sets, costs, batch, numbers, dataset.num_classes, digest)


def compute_missing(study: VintkStudy, out: Path, console: Console) -> None:
    """Computes every row that is not there yet.

    Args:
        study: the study.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the folder cannot be written to, or a kernel does not fit into memory.
    """
    config = study.config
    done = set(run_folder.rows_by_key(out / run_folder.SCORES, KEYS))
    kernels = {name: _kernels(study, name, console) for name in study.sets}
    todo = [
        (name, at)
        for name, networks in study.sets.items()
        for at in range(len(networks.archs))
        if not {(name, networks.names[at], kernel) for kernel in config.variants} <= done
    ]
    if not todo:
        say_complete(out, console)
        return
    # Networks of one shape class follow one another, so that no program is compiled twice.
    todo.sort(key=lambda each: _program_of(study, *each))
    for name, at in track(todo, "networks", console):
        for row in network_rows(study, kernels[name], name, at):
            if tuple(row[key] for key in KEYS) not in done:
                append_row(out / run_folder.SCORES, row)


def network_rows(
    study: VintkStudy, kernels: ModelKernels, name: str, at: int
) -> Iterator[dict[str, Any]]:
    """Scores one network by every kernel.

    Args:
        study: the study.
        kernels: what computes them.
        name: of the set.
        at: number of the network.

    Yields:
        A row a kernel. Its seconds are those of the kernels it is made of and of its metrics,
        compilation apart.

    Raises:
        InputError: a kernel does not fit into memory.
    """
    config, networks = study.config, study.sets[name]
    arch, space = networks.archs[at], SPACES[networks.space]
    ready = partial(kernels.prepare, arch)
    for kernel, gram, parts, _ in kernels_of(partial(kernels, arch), ready, config.variants):
        start = time.perf_counter()
        scores = evaluate(gram, study.batch.y, config.metrics, kernel_dtype=config.dtype)
        seconds = sum(parts.values()) + time.perf_counter() - start
        yield {
            "set": name,
            "name": networks.names[at],
            "kernel": kernel,
            "arch": written(space, arch),
            "metrics": {each: score.to_json() for each, score in scores.items()},
            "params": int(study.costs[name]["params"][at]),
            "flops": int(study.costs[name]["flops"][at]),
            "init_seed": config.init_seed,
            "feature_seed": config.feature_seed,
            "outputs": config.outputs,
            "dtype": config.dtype,
            "num_images": config.num_images,
            "image_size": config.image_size,
            "seconds": seconds,
        }


def _program_of(study: VintkStudy, name: str, at: int) -> tuple[int, str]:
    """Orders networks by their set and by the program that computes them."""
    networks = study.sets[name]
    model = _model(study, name)
    own = model.program(model, networks.archs[at]).network
    return list(study.sets).index(name), repr(own)


def _model(study: VintkStudy, name: str) -> Model:
    """The networks of a set."""
    family = FAMILIES[study.sets[name].space]
    shared = {"num_shape_classes": study.config.num_shape_classes}
    own = {size: shared.get(size, value) for size, value in family.sizes.items()}
    return family.build(study.num_classes, **own)


def _kernels(study: VintkStudy, name: str, console: Console) -> ModelKernels:
    config = study.config
    settings = KernelSettings(
        outputs=config.outputs,
        parameters="all",
        dtype=config.dtype,
        matmul_precision=config.matmul_precision,
        tile=config.tile,
    )
    return ModelKernels(
        _model(study, name),
        settings,
        study.batch.x,
        init_seed=config.init_seed,
        feature_seed=config.feature_seed,
        say=partial(console.print, highlight=False),
    )


def _seconds(rows: Rows) -> dict[str, dict[str, float]]:
    """Says what a kernel costs: the median over the networks of each set, compilation apart."""
    found: dict[str, dict[str, list[float]]] = {}
    for (name, _, kernel), row in rows.items():
        found.setdefault(name, {}).setdefault(kernel, []).append(row["seconds"])
    return {
        name: {kernel: float(np.median(seconds)) for kernel, seconds in of_set.items()}
        for name, of_set in found.items()
    }


def summarize(study: VintkStudy, rows: Rows, console: Console) -> dict[str, Any]:
    """Correlates every score with every truth.

    Args:
        study: the study.
        rows: the rows by set, name and kernel.
        console: where progress is shown.

    Returns:
        The summary.
    """
    config = study.config
    entries = [
        entry
        for name, networks in track(list(study.sets.items()), "correlating", console)
        for entry in vintk_entries(config, name, networks, study.costs[name], rows)
    ]
    return {
        "sets": {name: len(networks.archs) for name, networks in study.sets.items()},
        "seconds_a_kernel": _seconds(rows),
        "data": {
            "name": config.data,
            "num_images": config.num_images,
            "image_size": config.image_size,
            "standardization": asdict(study.standardization),
        },
        "rule": rule_entries(config, study.sets, study.costs, rows),
        "entries": entries,
    }


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes tables and figure of a summary.

    Args:
        rows: not needed.
        summary: of :func:`summarize`.

    Returns:
        All scores, those the rule is about, and the rule's figure and verdict.
    """
    rule = summary["rule"]
    return Publication(
        tables={TABLE: summary["entries"], RULE: rule["entries"]},
        figures={FIGURE: vintk_figure(rule)},
        shown=[terminal_table(rule), rule["verdict"]],
    )


VINTK = Study(NAME, KEYS, validate_vintk, prepare, compute_missing, summarize, report)
