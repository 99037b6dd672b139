"""Does a kernel that sees Fourier features rank vision transformers better? Start to figure.

A row is one network and one kernel, the NTK or one of the ViNTKs, with every metric; it is on disk
before the next is begun, so that a run which is killed at any moment goes on to the same rows.
"""

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxntk.data.batches import Batch, Standardization, make_batch, resized, standardize
from jaxntk.data.images import load_images
from jaxntk.data.reduced import some_classes
from jaxntk.data.vitbench101 import Networks, load_vitbench101
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import FourierMap, vintk_kernel
from jaxntk.metrics import evaluate
from jaxntk.networks.pit_classes import shape_classes
from jaxntk.results.rows import append_row, write_bytes_atomic, write_json_atomic
from jaxntk.results.vintk_plot import vintk_figure
from jaxntk.results.vintk_table import table_csv, terminal_table
from jaxntk.spaces import autoformer, pit
from jaxntk.studies import run_folder
from jaxntk.studies.progress import track
from jaxntk.studies.vintk_config import VintkConfig, validate_vintk
from jaxntk.studies.vintk_summary import rule_entries, vintk_entries
from jaxntk.studies.vit_kernels import ViTKernels, ViTSettings

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


def run_vintk(config: VintkConfig, out: Path, *, command: str, console: Console) -> dict[str, Any]:
    """Scores the networks of a table by every kernel and ranks them by every score.

    The same folder again goes on with what is missing.

    Args:
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder.
    """
    start = time.perf_counter()
    study = prepare(config)
    record = run_folder.Record(
        experiment=NAME, command=command, config=config, data_sha256=study.digest
    )
    run_folder.open_run(out, record, validate_vintk)
    compute_missing(study, out, console)
    console.print("correlating every score with every truth ...", highlight=False)
    rows = run_folder.rows_by_key(out / run_folder.SCORES, KEYS)
    entries = [
        entry
        for name, networks in track(list(study.sets.items()), "sets", console)
        for entry in vintk_entries(config, name, networks, study.costs[name], rows)
    ]
    rule = rule_entries(config, study.sets, study.costs, rows)
    summary = {
        "experiment": NAME,
        "sets": {name: len(networks.archs) for name, networks in study.sets.items()},
        "seconds_a_kernel": _seconds(rows),
        "data": {
            "name": config.data,
            "num_images": config.num_images,
            "image_size": config.image_size,
            "standardization": asdict(study.standardization),
        },
        "rule": rule,
        "entries": entries,
        "seconds": time.perf_counter() - start,
    }
    _publish(out, summary, console)
    return summary


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
    if config.dtype == "float64" and not jax.config.read("jax_enable_x64"):
        cure = "call jax.config.update('jax_enable_x64', True) first"
        raise InputError("dtype", config.dtype, cure)
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
        name: {key: value.astype(np.float64) for key, value in _costs(each, sizes).items()}
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
    kernels = ViTKernels(
        ViTSettings(
            num_classes=study.num_classes,
            outputs=config.outputs,
            dtype=config.dtype,
            matmul_precision=config.matmul_precision,
            tile=config.tile,
            num_shape_classes=config.num_shape_classes,
            init_seed=config.init_seed,
            feature_seed=config.feature_seed,
        ),
        study.batch.x,
        lambda line: console.print(line, highlight=False),
    )
    todo = [
        (name, at)
        for name, networks in study.sets.items()
        for at in range(len(networks.archs))
        if not {(name, networks.names[at], kernel) for kernel in config.variants} <= done
    ]
    if not todo:
        return
    for name, at in track(todo, "networks", console):
        for row in network_rows(study, kernels, name, at):
            if tuple(row[key] for key in KEYS) not in done:
                append_row(out / run_folder.SCORES, row)


def network_rows(
    study: VintkStudy, kernels: ViTKernels, name: str, at: int
) -> Iterator[dict[str, Any]]:
    """Scores one network by every kernel.

    Args:
        study: the study.
        kernels: what computes them.
        name: of the set.
        at: number of the network.

    Yields:
        A row a kernel. Its seconds are those of the kernels it is made of and of its metrics.

    Raises:
        InputError: a kernel does not fit into memory.
    """
    config, networks = study.config, study.sets[name]
    arch, family = networks.archs[at], networks.family
    text = (
        pit.to_string(arch)
        if family == "pit"
        else autoformer.to_string(arch, autoformer.VITBENCH101)
    )
    found: dict[FourierMap | None, tuple[np.ndarray, float]] = {}
    for variant, how in config.variants.items():
        used: list[FourierMap | None] = []

        def kernel(
            part: FourierMap | None, used: list[FourierMap | None] = used
        ) -> Float[np.ndarray, "n n"]:
            used.append(part)
            if part not in found:
                start = time.perf_counter()
                gram = kernels(family, arch, part)
                found[part] = (gram, time.perf_counter() - start)
            return found[part][0]

        gram = vintk_kernel(kernel, how)
        seconds = sum(found[part][1] for part in used)
        start = time.perf_counter()
        scores = evaluate(gram, study.batch.y, config.metrics, kernel_dtype=config.dtype)
        yield {
            "set": name,
            "name": networks.names[at],
            "kernel": variant,
            "arch": text,
            "metrics": {each: score.to_json() for each, score in scores.items()},
            "params": int(study.costs[name]["params"][at]),
            "flops": int(study.costs[name]["flops"][at]),
            "init_seed": config.init_seed,
            "feature_seed": config.feature_seed,
            "outputs": config.outputs,
            "dtype": config.dtype,
            "num_images": config.num_images,
            "image_size": config.image_size,
            "seconds": seconds + time.perf_counter() - start,
        }


def _costs(networks: Networks, sizes: dict[str, int]) -> dict[str, Int[np.ndarray, " num"]]:
    if networks.family == "pit":
        return pit.population_costs(networks.archs, **sizes)._asdict()
    space = autoformer.VITBENCH101
    return autoformer.population_costs(networks.archs, space, **sizes)._asdict()


def _seconds(rows: Mapping[tuple, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Says what a kernel costs: the median over the networks of each set, compilation apart."""
    found: dict[str, dict[str, list[float]]] = {}
    for (name, _, kernel), row in rows.items():
        found.setdefault(name, {}).setdefault(kernel, []).append(row["seconds"])
    return {
        name: {kernel: float(np.median(seconds)) for kernel, seconds in of_set.items()}
        for name, of_set in found.items()
    }


def _publish(out: Path, summary: Mapping[str, Any], console: Console) -> None:
    """Writes summary, tables and figure, and shows the rule's table."""
    write_bytes_atomic(out / TABLE, table_csv(summary["entries"]).encode())
    write_bytes_atomic(out / RULE, table_csv(summary["rule"]["entries"]).encode())
    picture = io.BytesIO()
    vintk_figure(summary["rule"]).savefig(picture, dpi=150)
    write_bytes_atomic(out / FIGURE, picture.getvalue())
    write_json_atomic(out / run_folder.SUMMARY, summary)
    console.print(terminal_table(summary["rule"]))
    console.print(summary["rule"]["verdict"], highlight=False)
    console.print(f"tables and figure: {out}", soft_wrap=True, highlight=False)
