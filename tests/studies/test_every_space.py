"""Transformers go through the studies that cells go through, by the same configuration."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits_vit import load_digits_vit
from jaxntk.errors import InputError
from jaxntk.metrics import evaluate
from jaxntk.runs.rows import read_json, read_rows
from jaxntk.runs.shards import Shard
from jaxntk.runs.study import run_study
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.config import ExperimentConfig
from jaxntk.studies.job import prepare
from jaxntk.studies.kernel_dynamics import KERNEL_DYNAMICS
from jaxntk.studies.kernel_dynamics_config import KernelDynamicsConfig
from jaxntk.studies.merge import merge
from jaxntk.studies.over_epochs import OVER_EPOCHS
from jaxntk.studies.over_epochs_config import OverEpochsConfig
from jaxntk.studies.rank import run, run_shard
from jaxntk.studies.score_population import score_population

SPACE = SPACES["digits-vit"]
ARCHS = ("8:1x1", "8:4x4,1x1", "12:1x4", "16:4x1,4x1,1x1")
SHARED = {
    "space": "digits-vit",
    "data": "digits",
    "truth": "digits_vit/test",
    "archs": ARCHS,
    "metrics": ("lga_centred", "trace"),
}
RANK = ExperimentConfig(**SHARED, num_images=20)
TRAINED = {"num_images": 20, "train_images": 200, "batch_size": 100, "recipe": "adamw"}
TRAINED |= {"augmentation": "none", "batch": "balanced", "split": "train"}


def console():
    return Console(file=io.StringIO(), width=200)


def ranked(out, config=RANK):
    return run(config, out, experiment="small", command="again", console=console())


def scores(out):
    return {
        (row["arch"], row["init_seed"]): row["metrics"] for row in read_rows(out / "scores.jsonl")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("every_space") / "whole"
    return out, ranked(out)


def test_a_ranking(whole):
    out, summary = whole
    assert list(summary["baselines"]) == list(SPACE.baselines)
    assert summary["compilations"] == 1
    truths = {row["arch"]: row["accuracy"] for row in read_rows(out / "truth.jsonl")}
    assert list(truths) == list(ARCHS)
    archs = np.stack([SPACE.read(arch) for arch in ARCHS])
    np.testing.assert_array_equal(list(truths.values()), load_digits_vit().accuracy(archs, "test"))
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "the best architecture, " in report
    # Held against the kernel itself.
    job = prepare(RANK)
    gram = job.kernels(lambda line: None)(archs[1])
    wanted = evaluate(gram, job.batch.y, ("trace",))["trace"].value
    assert scores(out)[ARCHS[1], 0]["trace"]["value"] == pytest.approx(wanted, rel=1e-6)


def test_shards(whole, tmp_path):
    for number in (1, 2):
        run_shard(
            RANK, tmp_path, Shard(number, 2), experiment="small", command="c", console=console()
        )
    merge([tmp_path], None, command="merge", console=console())
    assert scores(tmp_path) == scores(whole[0])


def test_a_population(whole, tmp_path):
    job = prepare(RANK)
    score_population(job, tmp_path / "scores.jsonl", console(), strategy="vmap", chunk=3)
    found = scores(tmp_path)
    for key, metrics in scores(whole[0]).items():
        for name, score in metrics.items():
            assert found[key][name]["value"] == pytest.approx(score["value"], rel=1e-3), (key, name)
    with pytest.raises(InputError, match="this network has no routes"):
        score_population(job, tmp_path / "routed.jsonl", console(), strategy="routed")


def test_a_vintk(tmp_path):
    config = ExperimentConfig(**SHARED, num_images=20, kernel="pixel_values:sigma=1/fourier_only")
    summary = ranked(tmp_path / "run", config)
    assert summary["compilations"] == 1
    assert all(entry["invalid"] == 0 for entry in summary["metrics"].values())


def test_after_training(tmp_path):
    config = OverEpochsConfig(
        **SHARED, **TRAINED, epochs=(0, 2), kernels=("ntk", "bands:num=2/sum"), chunk=3
    )
    out = tmp_path / "run"
    summary = run_study(OVER_EPOCHS, config, out, command="again", console=console())
    rows = read_rows(out / "scores.jsonl")
    keys = {(row["epochs"], row["kernel"], row["batch_norm"]) for row in rows}
    assert keys == {(0, "ntk", "none"), (0, "bands:num=2/sum", "none"), (2, "ntk", "none")}
    assert len(rows) == 3 * len(ARCHS)
    assert all(row["finite"] for row in rows)
    named = {entry["score"] for entry in summary["entries"]}
    assert {"lga_centred", "lga_centred@bands:num=2/sum", "loss_sum", *SPACE.baselines} <= named


def test_kernels_while_they_learn(tmp_path):
    config = KernelDynamicsConfig(**{**SHARED, "archs": ARCHS[:2]}, **TRAINED, epochs=(0, 2))
    out = tmp_path / "run"
    run_study(KERNEL_DYNAMICS, config, out, command="again", console=console())
    cells = read_json(out / "summary.json")["cells"]
    assert [cell["arch"] for cell in cells] == list(ARCHS[:2])
    row = read_rows(out / "scores.jsonl")[-1]
    layers = [name for name in row["kernels"] if name != "network"]
    assert layers[0] == "patch_embedding"
    assert "blocks 1" in layers, layers
    assert (out / "kernel_dynamics.png").exists()


def test_spaces_that_are_not_listed_ask_for_names(tmp_path):
    fields = {**SHARED, "archs": ()}
    config = KernelDynamicsConfig(**fields, **TRAINED, epochs=(0, 1))
    with pytest.raises(InputError, match="archs: got none; name architectures"):
        run_study(KERNEL_DYNAMICS, config, tmp_path / "run", command="c", console=console())


def test_one_seed_gives_one_network_whatever_asks():
    """Kernels before training are those of the weights that training begins with."""
    job = prepare(RANK)
    drawn = job.model.draw(0, job.batch.x.shape[1:], np.dtype("float32"))
    kernels = job.kernels(lambda line: None)
    arch = SPACE.read(ARCHS[0])
    np.testing.assert_array_equal(kernels(arch), kernels.at(drawn, arch))
    assert jax.tree.structure(drawn["batch_stats"]).num_leaves == 0
