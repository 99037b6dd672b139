"""The study of ViNTKs: its rows, that it goes on, and what its summary and its rule say."""

import csv
import dataclasses
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.kernels.fourier import ViNTK, combine
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.metrics import METRICS
from jaxntk.networks.pit_classes import class_of
from jaxntk.runs.rows import read_rows
from jaxntk.runs.study import run_study
from jaxntk.studies import vintk, vintk_summary
from jaxntk.studies.vintk_config import VintkConfig, validate_vintk
from jaxntk.studies.vintk_summary import _mean_taus

HEADER = (
    "set,idx,embed_dim,depth,num_heads,mlp_ratio,params_c100,"
    "c100_base_acc,c100_kd_acc,flower_base_acc"
)
CONFIG = VintkConfig(
    data="digits",
    image_size=16,
    num_images=6,
    batch_classes=3,
    vintks=("pixel_values:sigma=1/sum", "bands:num=2/fourier_only"),
    metrics=("lga", "condition_number", "trace"),
)


def written_table(folder):
    """Ten AutoFormer networks and eight of PiT with accuracies that nothing explains."""
    rng = np.random.default_rng(0)
    lines = [HEADER]
    for at in range(10):
        depth = 12 + at % 3
        heads = " ".join(str(n) for n in rng.integers(3, 5, depth))
        ratios = " ".join(str(n) for n in rng.choice([3.5, 4.0], depth))
        width = (192, 216, 240)[at % 3]
        numbers = ",".join(f"{n:.2f}" for n in rng.uniform(60, 80, 3))
        lines.append(f"autoformer_main,{at},{width},{depth},{heads},{ratios},,{numbers}")
    for at in range(8):
        numbers = ",".join(f"{n:.2f}" for n in rng.uniform(60, 80, 3))
        lines.append(f"pit,{at},{(16, 24)[at % 2]},1 4 2,2 2 4,{(2, 4, 6, 8)[at // 2]},,{numbers}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def quick_kernel(family, arch, how, num=CONFIG.num_images):
    """A kernel that depends on everything a kernel may depend on, and costs nothing."""
    seed = sum(map(ord, f"{family}{how}")) + int(np.dot(arch, 1 + np.arange(len(arch))))
    rows = np.random.default_rng(seed).normal(size=(num, num + 2))
    return (rows @ rows.T).astype(np.float32)


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Every kernel that was asked for."""
    calls = []

    def call(self, arch, how=None):
        family = "pit" if len(self.model.options) == 6 else "autoformer"
        calls.append((family, tuple(arch.tolist()), how))
        return quick_kernel(family, arch, how, len(self.x))

    monkeypatch.setattr(ModelKernels, "__call__", call)
    monkeypatch.setattr(ModelKernels, "prepare", lambda *_arguments: None)
    monkeypatch.setattr(vintk_summary, "RESAMPLES", 100)
    return calls


@pytest.fixture
def config(tmp_path):
    return dataclasses.replace(CONFIG, table=written_table(tmp_path))


def run(out, config):
    console = Console(file=io.StringIO(), width=200)
    return run_study(vintk.VINTK, config, out, command="again", console=console)


def rows_of(out):
    rows = [
        {k: v for k, v in row.items() if k != "seconds"} for row in read_rows(out / "scores.jsonl")
    ]
    return {(row["set"], row["name"], row["kernel"]): row for row in rows}


def test_there_is_a_row_for_each_network_and_kernel(tmp_path, config, asked):
    out = tmp_path / "run"
    run(out, config)
    rows = rows_of(out)
    assert len(rows) == (10 + 8) * 3
    # A map is computed once a network, whatever is made of it.
    assert len(asked) == len(set(asked)) == (10 + 8) * 3
    study = vintk.prepare(config)
    how = ViNTK.parse(config.vintks[0])
    for at in (0, 3):
        arch = study.sets["pit"].archs[at]
        plain, fourier = (quick_kernel("pit", arch, each) for each in (None, how.map))
        plain, fourier = plain.astype(np.float64), fourier.astype(np.float64)
        wanted = METRICS["lga"](combine(plain, fourier, how), study.batch.y).value
        row = rows["pit", str(at), str(how)]
        assert row["metrics"]["lga"]["value"] == pytest.approx(wanted)
        assert row["params"] == study.costs["pit"]["params"][at]


def test_networks_of_one_class_follow_one_another(tmp_path, config, asked):
    run(tmp_path / "run", config)
    archs = [np.array(arch, np.int32) for family, arch, *_ in asked if family == "pit"]
    classes = [class_of(arch, config.num_shape_classes) for arch in archs]
    changes = sum(one != other for one, other in itertools.pairwise(classes))
    assert changes == len(set(classes)) - 1


@pytest.mark.parametrize("kept", [0, 7, 8, 30, 53])
def test_a_killed_run_goes_on_to_the_same_rows(tmp_path, config, asked, kept):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    summary = run(whole, config)
    run(cut, config)
    lines = (cut / "scores.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "scores.jsonl").write_bytes(b"".join(lines[:kept]) + b'{"torn')
    asked.clear()
    again = run(cut, config)
    assert rows_of(cut) == rows_of(whole)
    assert len(asked) <= 3 * (18 - kept // 3)
    for name in ("entries", "rule"):
        assert again[name] == summary[name]


def test_another_configuration_does_not_go_on(tmp_path, config):
    run(tmp_path / "run", config)
    other = dataclasses.replace(config, feature_seed=1)
    with pytest.raises(InputError, match="feature_seed=0 where 1 is asked"):
        run(tmp_path / "run", other)


def test_the_summary_correlates_every_score_with_every_truth(tmp_path, config):
    out = tmp_path / "run"
    summary = run(out, config)
    study, rows = vintk.prepare(config), rows_of(out)
    entries = {(e["set"], e["kernel"], e["score"], e["truth"]): e for e in summary["entries"]}
    assert len(entries) == 2 * 3 * (3 * 3 + 4)
    for name, kernel, metric in (
        ("pit", "ntk", "lga"),
        ("autoformer_main", *config.vintks[1:], "condition_number"),
    ):
        values = [
            rows[name, each, kernel]["metrics"][metric]["value"] for each in study.sets[name].names
        ]
        sign = 1 if METRICS[metric].higher_is_better else -1
        truth = study.sets[name].accuracies["c100_kd_acc"]
        wanted = scipy.stats.kendalltau(sign * np.array(values), truth).statistic
        assert entries[name, kernel, metric, "c100_kd_acc"]["kendall"] == pytest.approx(wanted)
    depth = entries["pit", None, "depth", "c100_kd_acc"]
    # All PiT networks of the table are equally deep.
    assert depth["kendall"] is None
    assert json.loads((out / "summary.json").read_text())["rule"] == summary["rule"]


def test_the_rule_takes_the_mean_over_its_truths(tmp_path, config):
    rule = run(tmp_path / "run", config)["rule"]
    assert rule["truths"] == [
        "autoformer_main/c100_kd_acc",
        "pit/c100_base_acc",
        "pit/flower_base_acc",
    ]
    rows = list(csv.DictReader((tmp_path / "run" / "vintk.csv").read_text().splitlines()))
    wanted = np.mean([
        float(row["kendall"])
        for row in rows
        if (row["kernel"], row["score"]) == ("ntk", "trace")
        and f"{row['set']}/{row['truth']}" in rule["truths"]
    ])
    entries = {(e["kernel"], e["score"]): e for e in rule["entries"]}
    assert entries["ntk", "trace"]["mean_kendall"] == pytest.approx(wanted, abs=1e-4)
    assert entries.pop((None, "depth"))["mean_kendall"] is None
    ranked = [e for e in rule["entries"] if e["mean_kendall"] is not None]
    taus = [entry["mean_kendall"] for entry in ranked]
    assert taus == sorted(taus, reverse=True)
    reference = entries["ntk", "condition_number"]
    assert reference["gain"] == 0
    for entry in ranked:
        assert entry["gain"] == pytest.approx(entry["mean_kendall"] - reference["mean_kendall"])
        low, high = entry["mean_kendall_ci95"]
        assert low <= entry["mean_kendall"] <= high
    chosen = rule["chosen"]
    assert chosen["kernel"] in config.variants
    assert chosen["kernel"] != "ntk"
    assert chosen["mean_kendall"] == max(
        e["mean_kendall"] for e in rule["entries"] if e["kernel"] not in (None, "ntk")
    )
    assert (tmp_path / "run" / "vintk.png").read_bytes().startswith(b"\x89PNG")


def test_what_orders_nothing_has_no_place(tmp_path, config, monkeypatch):
    """All PiT networks of the table are equally deep: depth has no mean tau."""
    rule = run(tmp_path / "run", config)["rule"]
    assert rule["entries"][-1] == {
        "kernel": None,
        "score": "depth",
        "mean_kendall": None,
        "mean_kendall_ci95": None,
        "gain": None,
        "gain_ci95": None,
        "gain_low_of_all": None,
    }


def test_sets_are_resampled_independently():
    """The interval of the mean over two sets is narrower than that of either, by a root of two."""
    rng = np.random.default_rng(0)
    pairs = [(x, x + rng.normal(size=80)) for x in rng.normal(size=(2, 80))]
    one, two = ((*pair, seed) for seed, pair in enumerate(pairs))
    spread = [np.std(_mean_taus(each)[1]) for each in ([one], [two], [one, two])]
    assert spread[2] == pytest.approx(np.hypot(spread[0], spread[1]) / 2, rel=0.2)
    correlated = np.corrcoef(_mean_taus([one])[1], _mean_taus([two])[1])[0, 1]
    assert abs(correlated) < 0.3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_classes": 4}, "num_images: got 6 of 4 classes"),
        ({"vintks": ("bands/sum", "bands:num=4/sum")}, "vintks: got .*give none twice"),
        ({"vintks": ("band/sum",)}, "where: got 'band'"),
        ({"metrics": ("lgo",)}, "metrics: got 'lgo'"),
        ({"metrics": ()}, "metrics: got"),
        ({"image_size": 8}, "image_size: got 8; give at least 16"),
        ({"num_images": 1}, "num_images: got 1"),
        ({"max_archs": 1}, "max_archs: got 1"),
        ({"init_seed": -1}, "init_seed: got -1"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_vintk(dataclasses.replace(CONFIG, **changes))


def test_a_table_has_to_be_named(tmp_path):
    with pytest.raises(InputError, match="table: got None; name ViT-Bench-101's CSV file"):
        run(tmp_path / "run", CONFIG)
    assert not Path(tmp_path / "run").exists()
