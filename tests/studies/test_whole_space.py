"""Cells scored as one population: the rows of scoring one at a time, resumed and summarised."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from jaxntk.cli import load_experiment
from jaxntk.errors import InputError
from jaxntk.runs import run_folder
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import ExperimentConfig
from jaxntk.studies.job import prepare
from jaxntk.studies.score_population import (
    PopulationCost,
    population_flops,
    projected_seconds,
    score_population,
)
from jaxntk.studies.whole_space import POPULATION, Options, run_population
from tests.tiny_runs import rows

# Whole runs, each of which compiles anew: minutes on two cores.
pytestmark = pytest.mark.slow

# Float32 kernels of two programs: sums in another order.
RTOL = 2e-3
METRICS = ("lga", "frobenius", "mean")


def config_with(experiment, table, **changes):
    tiny = load_experiment(experiment).to_json()
    truth = {"truth": "cifar10/test/200", "table": str(table), "metrics": METRICS}
    return ExperimentConfig.from_json({**tiny, **truth, **changes})


def run(config, out, **options):
    console = Console(file=io.StringIO(), width=200)
    summary = run_population(
        config, Options(out, **options), experiment="tiny", command="again", console=console
    )
    return summary, console.file.getvalue()


@pytest.fixture(scope="module")
def scored(experiment, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("population")
    return out, *run(config_with(experiment, table), out, strategy="routed", chunk=3)


def test_rows_are_those_of_one_cell_at_a_time(scored, finished):
    out = scored[0]
    wanted = {row["ops"]: row for row in rows(finished / run_folder.SCORES)}
    got = {row["ops"]: row for row in rows(out / run_folder.SCORES)}
    assert set(got) == set(wanted)
    for ops, row in got.items():
        other = wanted[ops]
        different = {name for name in row if row[name] != other.get(name)}
        assert different <= {"metrics", "seconds", "strategy"}, different
        assert (row["strategy"], row["tile"]) == ("routed", 12)
        for name in METRICS:
            one, two = row["metrics"][name], other["metrics"][name]
            assert one["status"] == two["status"], (ops, name)
            np.testing.assert_allclose(
                one["value"], two["value"], rtol=RTOL, err_msg=f"{ops} {name}"
            )


def test_it_says_how_long_it_took_and_projects(scored):
    out, summary, said = scored
    assert summary["num_archs"] == 4
    assert "scored 4 cells" in said
    assert "PROJECTION, not measured: all 15625 cells at 12 images" in said
    assert "Kendall tau" in said
    cost = json.loads((out / POPULATION).read_text())
    assert (cost["cells"], cost["strategy"]) == (4, "routed")
    assert cost["seconds"] > 0


def _without_how(row):
    """A line as it was written before rows said how their kernel was computed."""
    return json.dumps({name: row[name] for name in row if name not in ("tile", "strategy")}) + "\n"


def test_only_missing_rows_are_computed(scored, experiment, table, tmp_path):
    out = tmp_path / "again"
    job = prepare(config_with(experiment, table))
    path = out / run_folder.SCORES
    out.mkdir()
    lines = [_without_how(row) for row in rows(scored[0] / run_folder.SCORES)]
    path.write_text("".join(lines[:3]))
    cost = score_population(job, path, Console(file=io.StringIO()), strategy="map")
    assert (cost.cells, cost.kernels) == (1, 1)
    assert path.read_text().startswith("".join(lines[:3]))
    assert [row.get("strategy") for row in rows(path)] == [None, None, None, "map"]
    assert score_population(job, path, Console(file=io.StringIO())) == PopulationCost()


def test_the_projection_is_the_measured_rate_times_the_work(experiment, table):
    job = prepare(config_with(experiment, table))
    everything = nasbench201.enumerate_space()
    live = np.stack([nasbench201.live_edges(arch) for arch in everything])
    distinct = np.unique(np.where(live, everything, 0), axis=0)
    measured = PopulationCost(
        cells=9, kernels=9, flops=population_flops(job, distinct[:9]), prepare_seconds=5, seconds=2
    )
    work = population_flops(job, distinct) / population_flops(job, distinct[:9])
    assert projected_seconds(job, measured) == pytest.approx(5 + 2 * work)


def test_bad_input(experiment, table, tmp_path):
    with pytest.raises(InputError, match="num_inits"):
        run(config_with(experiment, table, num_inits=2), tmp_path)
    with pytest.raises(InputError, match="column of the benchmark table"):
        run(load_experiment(experiment), tmp_path)
    job = prepare(config_with(experiment, table))
    with pytest.raises(InputError, match="no kernel"):
        projected_seconds(job, PopulationCost())
