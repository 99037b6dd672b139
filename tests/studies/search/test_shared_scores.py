"""Scores that several processes share: the numbers of one process."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.population.devices import join_named
from jaxntk.runs.rows import read_rows
from jaxntk.studies.search.shared_scores import SharedScores, shared
from tests.tiny_runs import REPOSITORY

SCRIPT = REPOSITORY / "experiments" / "search_vits.py"
FLAGS = ("--goals", "trace@ntk", "params", "--reference", "5", "--evaluations", "8")
TINY = (*FLAGS, "--searches", "2", "--population", "4", "--num-images", "8")


class Squares:
    """Scores that no float32 holds; counts what it is asked."""

    def __init__(self):
        self.asked = []

    def resume(self):
        pass

    def form(self, arch):
        return str(arch.tolist())

    def seconds(self, arch):
        return float(arch[0])

    @property
    def adopted(self):
        return 0

    @property
    def scored(self):
        return len(self.asked)

    def __call__(self, archs):
        self.asked += [self.form(arch) for arch in archs]
        values = np.stack([archs[:, 0] + 1e-12, -archs[:, 1].astype(float)], axis=1)
        values[archs[:, 0] == 2] = np.nan
        return values


def test_one_process_shares_with_itself():
    """What is gathered keeps every bit, NaN too, and the order."""
    own = Squares()
    archs = np.array([[3, 1], [2, 5], [3, 1], [0, 7]], np.int32)
    assert shared(own) is own
    together = SharedScores(own)
    found = together(archs)
    np.testing.assert_array_equal(found, Squares()(archs))
    together(archs[:2])
    assert own.asked == ["[3, 1]", "[2, 5]", "[0, 7]"]
    assert [together.seconds(arch) for arch in archs] == [3, 2, 3, 0]
    assert together.scored == 3


def begin(command):
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


FAILS = """
import sys
import numpy as np
from rich.console import Console
from jaxntk.errors import InputError
from jaxntk.population.devices import join_named
from jaxntk.studies.search.shared_scores import SharedScores

class Fails:
    asked = False
    scored = adopted = 0
    def form(self, arch):
        return str(arch)
    def seconds(self, arch):
        return 0.0
    def __call__(self, archs):
        if self.asked and sys.argv[2] == "2":
            raise RuntimeError("out of memory")
        self.asked = True
        return archs + 0.5

join_named(f"localhost:{sys.argv[1]}/{sys.argv[2]}/2", Console(quiet=True))
scores, archs = SharedScores(Fails()), np.arange(8, dtype=np.int32)[:, None]
print(scores(archs[:4])[:, 0].tolist())
try:
    scores(archs)
except (InputError, RuntimeError) as error:
    print(error)
"""


def test_who_fails_lets_nobody_wait():
    """Each says why it ends: its own failure, or that another one failed."""
    port = str(free_port())
    workers = [begin([sys.executable, "-c", FAILS, port, rank]) for rank in "12"]
    try:
        said = [worker.communicate(timeout=300)[0].strip().splitlines()[-2:] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    together = "[0.5, 1.5, 2.5, 3.5]"
    other = "processes: got one that failed; see what it says; the same commands again go on"
    assert said == [[together, other], [together, "out of memory"]]


@pytest.mark.parametrize("text", ["here", "localhost:1/0/2", "localhost:1/3/2", "localhost/1/2"])
def test_processes_that_cannot_be_are_refused(text):
    with pytest.raises(InputError, match="processes: got"):
        join_named(text, Console(quiet=True))


def start(out, *more):
    return begin([sys.executable, str(SCRIPT), "genetic-ntk", "--out", str(out), *TINY, *more])


def finish(workers):
    try:
        for worker in workers:
            said, _ = worker.communicate(timeout=600)
            assert worker.returncode == 0, said[-3000:]
    finally:
        for worker in workers:
            worker.kill()


def history(out):
    with np.load(out / "history.npz") as file:
        return file["archs"], file["scores"]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    """Each scores its share; after a kill of both they go on from their rows."""
    finish([start(tmp_path / "one")])
    port = free_port()
    out = tmp_path / "two"
    finish([start(out, "--processes", f"localhost:{port}/{rank}/2") for rank in (1, 2)])
    archs, scores = history(tmp_path / "one")
    both, told = history(out)
    np.testing.assert_array_equal(both, archs)
    np.testing.assert_allclose(told, scores, rtol=1e-12)
    rows = [read_rows(out / f"process-0{rank}-of-02" / "scores.jsonl") for rank in (1, 2)]
    whole = read_rows(tmp_path / "one" / "scores.jsonl")
    assert len(rows[0]) + len(rows[1]) == len(whole)
    assert abs(len(rows[0]) - len(rows[1])) <= 8
    (out / "history.npz").unlink()
    path = out / "process-02-of-02" / "scores.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    finish([start(out, "--processes", f"localhost:{port}/{rank}/2") for rank in (1, 2)])
    np.testing.assert_array_equal(history(out)[0], archs)
    assert len(read_rows(path)) == len(rows[1])
