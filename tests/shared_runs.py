"""One finished run, and a cache of compiled programs, shared by the tests of the runner."""

from pathlib import Path

import pytest

from jaxntk.cli import main
from tests.tiny_runs import sampled_cells, write_experiment, write_table


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny experiment."""
    return write_experiment(tmp_path_factory.mktemp("experiments"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark table of the cells of that experiment."""
    return write_table(tmp_path_factory.mktemp("table") / "nasbench201.csv.gz", sampled_cells())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, experiment: Path) -> Path:
    """The folder of a run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    return out
