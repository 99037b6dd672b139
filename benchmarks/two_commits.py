"""Whether the kernels of the search spaces are as fast, and the same, as at an earlier commit.

    python -m benchmarks.two_commits --base fa9cd46
    python -m benchmarks.two_commits --base fa9cd46 --space autoformer --num-images 16

Each commit runs in a process of its own, from an export of it; architectures are drawn at random,
and each is timed by both, one right after the other. Told are the compilation, the ratio of times
(its median over architectures), the ratio of all, compilation included, and the largest difference
of a kernel's sum. Images are noise: their content does not change the work.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console

from benchmarks.measure import write_record
from jaxntk.errors import InputError
from jaxntk.spaces import autoformer, pit

PROGRAM = "python -m benchmarks.two_commits"
REPOSITORY = Path(__file__).resolve().parents[1]
BAD_INPUT = 2

SIDE = """
import json, sys, time
import jax, numpy as np
how = json.loads(sys.argv[1])
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_enable_x64", how["dtype"] != "float32")
shape = (how["num_images"], how["image_size"], how["image_size"], 3)
x = np.random.default_rng(0).normal(size=shape).astype("float32")
start = time.perf_counter()
if how["space"] == "cells":
    sizes = {name: how[name] for name in ("channels", "cells_per_stage")}
    space, own = "nasbench201", {"batch_norm": "frozen"}
else:
    space = {"autoformer": "autoformer-vitbench101", "pit": "pit"}[how["space"]]
    sizes, own = {}, {"parameters": "all"}
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.registry import FAMILIES
family = FAMILIES[space]
settings = KernelSettings(outputs=how["outputs"], dtype=how["dtype"], **own)
kernels = ModelKernels(family.build(10, **family.complete(sizes)), settings, x)
kernels.prepare(np.asarray(how["first"]))
kernel = lambda arch: kernels(np.asarray(arch))
print(json.dumps(time.perf_counter() - start), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    gram = kernel(json.loads(line))
    print(json.dumps([time.perf_counter() - start, float(gram.sum())]), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the kernels of two commits in turns."""

    base: str
    """Commit that the working tree is held against."""
    space: Literal["cells", "autoformer", "pit"] = "cells"
    """Whose architectures."""
    architectures: int = 20
    """How many are drawn."""
    seed: int = 0
    """Of the draw."""
    channels: int = 16
    """Of a network of cells."""
    cells_per_stage: int = 5
    """Of a network of cells."""
    num_images: int = 64
    """Rows of the kernel."""
    image_size: int = 32
    """Pixels a side."""
    outputs: Literal["sum", "trace", "class_balanced"] = "sum"
    """Kernel that is computed."""
    dtype: Literal["float32", "mixed", "float64"] = "float32"
    """Precision."""
    repeats: int = 3
    """Of each architecture, of which the fastest counts."""
    out: Path = Path("benchmarks/results/two_commits.json")
    """JSON file to write."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, 2 after bad input.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        with (
            exported(options.base) as base,
            _side(base, options) as old,
            _side(REPOSITORY, options) as new,
        ):
            rows = _in_turns(options, old, new)
            compiled = [side.compile_seconds for side in (old, new)]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    seconds = np.array([row["seconds"] for row in rows])
    sums = np.array([row["sums"] for row in rows])
    whole = seconds.sum(axis=0) + compiled
    summary = {
        "compile_seconds": compiled,
        "ratio_median": float(np.median(seconds[:, 1] / seconds[:, 0])),
        "ratio_of_sums": float(seconds[:, 1].sum() / seconds[:, 0].sum()),
        "ratio_with_compilation": float(whole[1] / whole[0]),
        "largest_relative_difference": float(np.max(np.abs(sums[:, 1] / sums[:, 0] - 1))),
    }
    write_record(options.out, PROGRAM, options, rows=rows, summary=summary)
    Console().print(summary)
    return 0


class _Side:
    """A process that computes the kernels of one commit."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.compile_seconds = float(self._answer())

    def __call__(self, arch: list[int]) -> tuple[float, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arch) + "\n")
        self.process.stdin.flush()
        seconds, total = self._answer()
        return seconds, total

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            cure = "name one with the same modules; its own words stand above"
            raise InputError("base", "a commit whose process ended", cure)
        return json.loads(line)


@contextmanager
def _side(folder: Path, options: Options) -> Iterator[_Side]:
    how = {**asdict(options), "out": None, "first": _draw(options)[0]}
    process = subprocess.Popen(
        [sys.executable, "-c", SIDE, json.dumps(how)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Side(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def exported(commit: str) -> Iterator[Path]:
    """Writes a commit's files into a folder that is removed again."""
    command = ["git", "-C", str(REPOSITORY), "archive", commit]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode:
        raise InputError("base", commit, "give a commit of this repository, as git log lists them")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(found.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _draw(options: Options) -> list[list[int]]:
    """Returns architectures as lists of numbers."""
    rng = np.random.default_rng(options.seed)
    if options.space == "cells":
        return rng.integers(0, 5, size=(options.architectures, 6)).tolist()
    sizes = autoformer.VITBENCH101.sizes if options.space == "autoformer" else pit.GENE_SIZES
    return [[int(rng.integers(size)) for size in sizes] for _ in range(options.architectures)]


def _in_turns(options: Options, old: _Side, new: _Side) -> list[dict[str, Any]]:
    rows = []
    for arch in _draw(options):
        taken = [[side(arch) for side in (old, new)] for _ in range(options.repeats)]
        seconds = np.min([[each[0] for each in turn] for turn in taken], axis=0).tolist()
        rows.append({"arch": arch, "seconds": seconds, "sums": [each[1] for each in taken[-1]]})
    return rows


if __name__ == "__main__":
    sys.exit(main())
