"""The tiny runs of :mod:`benchmarks.same_results`, the files they read, and what no command does.

A run is a few commands in a folder of its own, beside the folder ``data`` with made-up files.
Some commands are functions of this file:

    helps             the help of every command and experiment
    small SCRIPT ...  scores a population, in networks of the smallest size
    short SCRIPT ...  makes a benchmark table, with one epoch a training
    filled SCRIPT F   packs made-up trainings into the file F of a benchmark table
"""

import csv
import gzip
import itertools
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxntk.cli import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[1]

TINY = """
from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="digits",
    truth="cifar10/test/200",
    table="../data/nasbench201.csv.gz",
    batch_norm="frozen",
    num_archs=4,
    num_images=12,
    channels=2,
    cells_per_stage=1,
    train_epochs=1,
    train_batch_size=256,
)
"""
RUN = "jaxntk run ../data/tiny.py --out"
SIZES = "--num-images 8 --channels 2 --cells-per-stage 1"
TRAINED = f"{SIZES} --train-images 400 --batch-size 200 --chunk 2"
FEW = "--evaluations 5 --searches 2 --population 4 --reference 3"
VITS = "experiments/search_vits.py genetic-vintk --dtype float32 --num-images 12"
SHORT_TRAINING = "--epochs 2 --train-images 400 --batch-size 200"


@dataclass(frozen=True)
class Step:
    """A process of a run.

    Args:
        words: its command line, which begins with ``jaxntk``, with a script of this checkout, or
            with a function of this file.
        code: the exit code that it has to end with.
        shows: what is kept of its standard output; ``boxes`` are lines of tables, where the others
            tell times.
    """

    words: str
    code: int = 0
    shows: Literal["nothing", "boxes", "everything"] = "nothing"


def _steps(*lines: str) -> tuple[Step, ...]:
    return tuple(Step(line) for line in lines)


def _refused(line: str) -> Step:
    return Step(line, code=2)


RUNS: Mapping[str, tuple[Step, ...]] = {
    "rank_batch": _steps(f"{RUN} run --batch-norm batch --truth train"),
    "rank_running": _steps(
        f"{RUN} run --batch-norm running --parameters all --initializer he_normal --num-archs 3"
    ),
    "rank_frozen": (
        *_steps(
            f"{RUN} run --outputs trace --num-inits 2 --data digits201 --truth digits201/test",
            "jaxntk correlate run --truth own --json own.json",
            "jaxntk correlate run --truth cifar10/test/200 --json column.json",
        ),
        _refused(f"{RUN} run --outputs sum"),
        *_steps("jaxntk report run"),
    ),
    "rank_precision": _steps(
        f"{RUN} float64 --dtype float64 --tile 5 --outputs class_balanced",
        f"{RUN} mixed --dtype mixed --batch first --metrics condition_number lga",
    ),
    "shards": (
        *_steps(f"{RUN} run --shard 1/2"),
        _refused("jaxntk merge run"),
        *_steps(f"{RUN} run --shard 2/2", "jaxntk merge run"),
    ),
    "population": _steps(*[
        "small experiments/whole_space_nasbench201.py --data-dir ../data --cells 6 --n 6 "
        f"--chunk 3 --strategy {strategy} --out {strategy}"
        for strategy in ("map", "vmap", "routed")
    ]),
    "over_training": _steps(
        f"experiments/over_epochs.py digits201 --out run {TRAINED} --epochs 0 1 2 "
        "--archs 421211 333333 000000 111111 --batch-norms frozen batch running"
    ),
    "kernel_dynamics": _steps(
        f"experiments/kernel_dynamics.py digits201 --out run {TRAINED} --epochs 0 1 3 "
        "--quantiles 0.1 0.9"
    ),
    "cell_searches": _steps(
        f"experiments/search_cells.py evolution-lga3 --out one {TRAINED} --score-cache cache "
        f"--goals lga@1 --evaluations 6 --searches 2 --population 3",
        f"experiments/search_cells.py random-lga3 --out two {TRAINED} --score-cache cache "
        f"--goals lga_centred@1 params {FEW} --select digits201/valid --finalists 2",
        f"experiments/search_cells.py evolution-table --out table {TRAINED} {FEW} "
        "--algorithm genetic --evaluations 30 --max-params 2000",
        "experiments/compare_searches.py --out compared --runs one two --training-seconds 1000 "
        "--budgets 500 2500",
    ),
    "vit_search": _steps(
        f"{VITS} --out run {FEW} --max-params 10000 --score-cache cache "
        "--goals condition_number@patch_content:sigma=1/sum lga@bands:num=2/product",
        f"{VITS} --out counted --space autoformer-tiny --truth None --image-size 16 "
        "--patch-size 8 --goals trace@ntk --evaluations 2 --searches 1 --population 2 --sample 2 "
        "--max-params 5600000",
    ),
    "pit_search": _steps(
        f"{VITS} --out run --space pit --truth None --image-size 32 --goals lga@ntk "
        "--max-params 2000000 --evaluations 2 --searches 1 --population 2 --sample 2 "
        "--num-shape-classes 1"
    ),
    "vintk": _steps(
        "experiments/vintk_vitbench101.py --out run --table ../data/vits.csv --data digits "
        "--image-size 16 --num-images 6 --batch-classes 3 --num-shape-classes 1 "
        "--vintks pixel_values:sigma=1/sum bands:num=2/fourier_only --metrics lga trace"
    ),
    "frequency_bias": _steps(
        "experiments/frequency_bias.py digits --out run --frequencies 1 3 5 7 --orientations 2 "
        "--phases 3 --num-images 5 --num-bands 3 --channels 2 --patch-size 8 --num-seeds 2 "
        "--vintks pixel_values:sigma=1:features=4/sum"
    ),
    "prune": _steps(
        f"experiments/prune_supernet.py condition --out run {SIZES} --dtype float32 "
        "--goals trace lga_centred --searches 1 --score-cache cache",
        f"experiments/prune_supernet.py condition --out shared {SIZES} --dtype float32 "
        "--goals condition_number --searches 1 --score-cache cache",
    ),
    "train_cell": _steps(
        f"jaxntk train --out run --arch 421211 --data digits201 {SHORT_TRAINING} --channels 2 "
        "--cells-per-stage 1 --augmentation crop --pad 1 --truth digits201/test"
    ),
    "train_vit": _steps(
        f"jaxntk train --out run --space digits-vit --arch 16:4x4,1x1 --data digits "
        f"{SHORT_TRAINING} --validation-images 100 --dtype float64 --truth digits_vit/test"
    ),
    "short_tables": _steps(
        "short experiments/digits201.py --out cells --limit 3",
        "short experiments/digits201.py --out cells --limit 1 --shard 2/2",
        "short experiments/digits_vit.py --out vits --limit 2",
    ),
    "packed_tables": (
        *_steps(
            "filled experiments/digits201.py digits201.npz",
            "filled experiments/digits_vit.py digits_vit.npz",
        ),
        Step("experiments/digits201.py --card", shows="everything"),
        Step("experiments/digits_vit.py --card", shows="everything"),
    ),
    "search_tables": _steps(
        "experiments/search_tables.py digits201 --out run --searches 20 --evaluations 10 40"
    ),
    "score": (
        Step(
            f"jaxntk score --data digits --batch-norm frozen --archs 421211 333333 {SIZES} "
            "--num-inits 2",
            shows="boxes",
        ),
    ),
    "refusals": (
        _refused(f"{RUN} run --chanels 2"),
        _refused(f"{RUN} run --truth cifar10/tst/200"),
        _refused(f"{RUN} run --table ../data/nowhere.csv.gz"),
        _refused("jaxntk merge nowhere"),
        _refused("jaxntk report nowhere"),
        _refused("jaxntk correlate ../data --truth own"),
        _refused("jaxntk verify nowhere.npz"),
        _refused("jaxntk train --out run --arch 421217 --data digits"),
        _refused("experiments/search_cells.py evolution-lga --out run"),
        _refused("experiments/search_vits.py genetic-ntk --out run --max-params 10"),
        _refused("experiments/vintk_vitbench101.py --out run --table ../data/nowhere.csv"),
        _refused("experiments/compare_searches.py --out run --runs nowhere"),
        _refused("experiments/prune_supernet.py condition --out run --archs 421211"),
    ),
    "helps": (Step("helps", shows="everything"),),
}
"""Every run, by its name."""


def command(words: list[str]) -> list[str]:
    """Makes the command of a process out of the words of a step.

    Args:
        words: of :class:`Step`.

    Returns:
        The program and its arguments.
    """
    first, rest = words[0], words[1:]
    if first == "jaxntk":
        return [sys.executable, "-m", "jaxntk", *rest]
    if first.endswith(".py"):
        return [sys.executable, str(REPOSITORY / first), *rest]
    return [sys.executable, "-m", "benchmarks.same_results_runs", first, *rest]


def write_data(folder: Path) -> None:
    """Writes the files that runs read, all of them made up.

    Args:
        folder: the folder, which is made.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "tiny.py").write_text(TINY)
    cells = ["".join(each) for each in itertools.product("01234", repeat=6)]
    with gzip.open(folder / "nasbench201.csv.gz", "wt", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ops", "c10_test_200"])
        table.writerows(zip(cells, rng.uniform(10, 94, len(cells)).round(2), strict=True))
    images = {}
    for split, num in (("train", 60), ("test", 30)):
        images[f"x_{split}"] = rng.integers(0, 256, (num, 8, 8, 3)).astype(np.uint8)
        images[f"y_{split}"] = np.arange(num) % 10
    np.savez(folder / "cifar10_5k1k.npz", **images)
    (folder / "vits.csv").write_text("\n".join(_vit_lines(rng)) + "\n")


def _vit_lines(rng: np.random.Generator) -> list[str]:
    """Four AutoFormer networks and four of PiT, with accuracies that nothing explains."""
    lines = ["set,idx,embed_dim,depth,num_heads,mlp_ratio,params_c100,c100_base_acc,c100_kd_acc"]
    for at in range(4):
        depth = 12 + at % 3
        heads = " ".join(str(each) for each in rng.integers(3, 5, depth))
        ratios = " ".join(str(each) for each in rng.choice([3.5, 4.0], depth))
        sizes = f"{(192, 216, 240)[at % 3]},{depth},{heads},{ratios}"
        lines.append(f"autoformer_main,{at},{sizes},,{_accuracies(rng)}")
    for at in range(4):
        sizes = f"{(16, 24)[at % 2]},1 4 2,2 2 4,{(2, 4)[at // 2]}"
        lines.append(f"pit,{at},{sizes},,{_accuracies(rng)}")
    return lines


def _accuracies(rng: np.random.Generator) -> str:
    return ",".join(f"{each:.2f}" for each in rng.uniform(60, 80, 2))


def print_helps() -> None:
    """Prints the help of every command and of every experiment with every preset."""
    # Paths of experiments are shown as they were given.
    os.chdir(REPOSITORY)
    _print_help("jaxntk", ["--help"])
    for name in COMMANDS:
        _print_help("jaxntk", [name, "--help"])
    for path in sorted(Path("experiments").rglob("*.py")):
        if "__main__" not in path.read_text():
            _print_help("jaxntk", ["run", str(path), "--help"])
            continue
        _print_help(str(path), ["--help"])
        for preset in runpy.run_path(str(path)).get("PRESETS", ()):
            _print_help(str(path), [preset, "--help"])


def _print_help(program: str, arguments: list[str]) -> None:
    print("==", program, *arguments)
    sys.argv = [program, *arguments]
    try:
        if program == "jaxntk":
            runpy.run_module("jaxntk", run_name="__main__")
        else:
            runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        print("== exit code", ended.code or 0)


def run_small(script: str, arguments: list[str]) -> None:
    """Scores a population as a script does, in networks of the smallest size.

    Args:
        script: of ``experiments``.
        arguments: its own.
    """
    there: dict[str, Any] = runpy.run_path(str(REPOSITORY / script))
    there["run_population"](
        replace(there["config"], channels=2, cells_per_stage=1),
        there["read_options"](there["Options"], None, arguments),
        experiment="population",
        command="again",
        console=there["Console"](),
    )


def run_short(script: str, arguments: list[str]) -> None:
    """Runs the script of a benchmark table with one epoch a training, and few at a time.

    Args:
        script: of ``experiments``.
        arguments: its own.
    """
    path = str(REPOSITORY / script)
    of_module = runpy.run_path(path)["BENCHMARK"].rows.__globals__
    assert {"EPOCHS", "CHUNK"} <= set(of_module)
    of_module.update(EPOCHS=1, CHUNK=2)
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def pack_filled(script: str, file: str) -> None:
    """Packs made-up trainings into the file of a table, by the script that makes it.

    Args:
        script: of ``experiments``.
        file: the table.
    """
    path = str(REPOSITORY / script)
    benchmark: Any = runpy.run_path(path)["BENCHMARK"]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder) / "all.jsonl", "w") as rows:
            for task in benchmark.tasks():
                row = {benchmark.field: task.name, "seed": task.seed, "finite": True, "seconds": 1}
                row |= {
                    "loss": rng.uniform(0, 3, 2).tolist(),
                    "train": rng.uniform(size=2).tolist(),
                }
                row |= {split: rng.integers(0, 400, 2).tolist() for split in ("valid", "test")}
                rows.write(json.dumps(row) + "\n")
        sys.argv = [path, "--out", folder, "--table", file]
        runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    if name == "helps":
        print_helps()
    elif name == "small":
        run_small(rest[0], rest[1:])
    elif name == "short":
        run_short(rest[0], rest[1:])
    else:
        pack_filled(*rest)
