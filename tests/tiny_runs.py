"""Runs of the command line that take seconds, and what tests read from them."""

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxntk.cli import main
from jaxntk.runs.run_folder import SCORES, SUMMARY, TRUTH
from jaxntk.spaces import nasbench201

REPOSITORY = Path(__file__).resolve().parents[1]
NUM_ARCHS = 4
MAIN = "import sys; from jaxntk.cli import main; sys.exit(main())"
# Tests that a shell runs in the background hand on that Ctrl-C is ignored.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"

EXPERIMENT = """
from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="digits",
    truth="train",
    batch_norm="frozen",
    num_archs=4,
    num_images=12,
    channels=2,
    cells_per_stage=1,
    train_epochs=1,
    train_batch_size=256,
)
"""


def write_experiment(folder: Path) -> Path:
    """Writes the experiment that the tests run."""
    file = folder / "tiny.py"
    file.write_text(EXPERIMENT)
    return file


def sampled_cells() -> np.ndarray:
    """The cells of that experiment."""
    return nasbench201.sample(jax.random.key(0), NUM_ARCHS)


def accuracies(cells: np.ndarray) -> list[float]:
    """Accuracies of a benchmark that knows convolutions only."""
    return [50.0 + 2 * nasbench201.num_convolutions(cell) + 0.1 * int(cell[0]) for cell in cells]


def write_table(file: Path, cells: np.ndarray) -> Path:
    """Writes a benchmark table of some cells and one column."""
    with gzip.open(file, "wt", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["ops", "c10_test_200"])
        for cell, accuracy in zip(cells, accuracies(cells), strict=True):
            table.writerow([nasbench201.format_ops(cell), accuracy])
    return file


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on standard error with which a command is refused."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    return one_line(capsys.readouterr().err)


def one_line(err: str) -> str:
    """Checks that an error is one line that begins as it must."""
    assert err.startswith("jaxntk: error: "), err
    assert err.endswith("\n"), err
    assert err.count("\n") == 1, err
    assert not set("│╭╰─") & set(err), err
    return err.removesuffix("\n")


def process(arguments: Sequence[object], code: str = MAIN, **options) -> subprocess.Popen[str]:
    """Starts the command line in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **options.pop("env", {})}
    command = [sys.executable, "-c", f"{LISTENING}\n{code}", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=env, **pipes, **options)


def finish(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a process; returns exit code, standard output and standard error."""
    out, err = running.communicate(timeout=300)
    return running.returncode, out, err


def rows(file: Path) -> list[dict]:
    """The rows of a finished JSON-lines file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def numbers(folder: Path) -> dict:
    """Everything a run computed, without times."""
    summary = json.loads((folder / SUMMARY).read_text())
    kept = ("metrics", "baselines", "truth", "num_archs", "num_inits", "compilations", "data")
    scores = {(row["ops"], row["init_seed"]): row["metrics"] for row in rows(folder / SCORES)}
    truth = {row["ops"]: (row["accuracy"], row["source"]) for row in rows(folder / TRUTH)}
    return {**{name: summary[name] for name in kept}, "scores": scores, "accuracies": truth}


def score_values(folder: Path) -> dict[tuple[str, str], float | None]:
    """Every score by cell and metric."""
    return {
        (row["ops"], name): score["value"]
        for row in rows(folder / SCORES)
        for name, score in row["metrics"].items()
    }


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


OVER_EPOCHS_FIELDS = {
    "data": "digits201",
    "truth": "digits201/test",
    "num_images": 8,
    "channels": 2,
    "cells_per_stage": 1,
    "train_images": 400,
    "batch_size": 200,
    "augmentation": "crop",
    "pad": 1,
    "chunk": 2,
}
"""Two steps an epoch of the smallest networks."""
