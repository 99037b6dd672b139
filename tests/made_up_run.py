"""A synthetic run folder: made of random numbers, in the layout of a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxntk.metrics import METRICS, Score, Status, ranking_values
from jaxntk.results.correlation import correlate
from jaxntk.runs.finished import mean_over_inits
from jaxntk.spaces.nasbench201 import OPS

MakeRun = Callable[..., Path]

# How strongly a synthetic metric follows the accuracy, and its failure on cells without a path.
_STRENGTH = {
    "lga": (0.1, Status.CONSTANT),
    "lga_off_diagonal": (0.2, Status.CONSTANT),
    "lga_centred": (0.3, Status.CONSTANT),
    "condition_number": (-1.2, Status.RANK_DEFICIENT),
    "effective_rank": (0.8, Status.ZERO_KERNEL),
}
_DEFAULT_STRENGTH = (0.6, Status.ZERO_KERNEL)


def arch_string(ops: np.ndarray) -> str:
    """Writes six operations as the benchmark does."""
    names = [OPS[op] for op in ops]
    (a,), (b, c), (d, e, f) = names[:1], names[1:3], names[3:]
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _cells(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns cells, their number of convolutions and an accuracy that grows with it."""
    index = rng.permutation(5**6)[:num]
    ops = np.stack([index // 5**edge % 5 for edge in range(6)], axis=1)
    convolutions = np.sum((ops == 2) | (ops == 3), axis=1)
    dead = (ops[:, 3] == 0) & (ops[:, 4] == 0) & (ops[:, 5] == 0)
    accuracy = 94.0 - 6.0 * np.exp(-0.5 * convolutions) * rng.gamma(2.0, 1.0, num)
    return ops, convolutions, np.where(dead, 10.0, accuracy)


def _metrics(
    rng: np.random.Generator, quality: float, dead: bool, all_invalid: bool
) -> dict[str, dict[str, Any]]:
    scores = {}
    for name in METRICS:
        strength, failure = _STRENGTH.get(name, _DEFAULT_STRENGTH)
        value = strength * quality + rng.normal()
        if not name.startswith("lga"):
            value = float(np.exp(1.5 * value + 3))
        failed = dead or all_invalid
        score = Score.invalid(failure) if failed else Score.of(value)
        scores[name] = score.to_json()
    return scores


def _rows(
    rng: np.random.Generator, num: int, num_inits: int, all_invalid: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    ops, convolutions, accuracy = _cells(rng, num)
    order = np.argsort(np.argsort(accuracy)) / max(1, num - 1)
    scores, truth = [], []
    for cell in range(num):
        arch = {"arch": arch_string(ops[cell]), "ops": "".join(map(str, ops[cell]))}
        truth.append({**arch, "accuracy": accuracy[cell], "source": "train:5", "seconds": 0.4})
        for init in range(num_inits):
            metrics = _metrics(rng, 3 * order[cell], accuracy[cell] == 10.0, all_invalid)
            params = 73306 + 90000 * int(convolutions[cell]) + 5000 * int(np.sum(ops[cell] == 3))
            scores.append({
                **arch,
                "init_seed": init,
                "metrics": metrics,
                "batch_norm": "frozen",
                "outputs": "sum",
                "parameters": "lga",
                "dtype": "float32",
                "matmul_precision": "highest",
                "num_images": 64,
                "params": params,
                "flops": 150 * params,
                "convolutions": int(convolutions[cell]),
                "seconds": 0.2,
            })
    return scores, truth


def _summary(scores: list[dict[str, Any]], truth: list[dict[str, Any]], inits: int) -> dict:
    accuracy = np.array([row["accuracy"] for row in truth])
    metrics, baselines = {}, {}
    for name, metric in METRICS.items():
        means = mean_over_inits(scores, name).values()
        cells = [Score.of(value) for value in means]
        ranks = ranking_values(cells, metric.higher_is_better)
        invalid = sum(not score.valid for score in cells)
        result = correlate(ranks, accuracy, invalid=invalid, resamples=200)
        metrics[name] = result.to_dict(higher_is_better=metric.higher_is_better)
    for name in ("params", "flops", "convolutions"):
        values = np.array([row[name] for row in scores[::inits]], np.float64)
        result = correlate(values, accuracy, invalid=0, resamples=200)
        baselines[name] = result.to_dict(higher_is_better=True)
    spread = {"min": accuracy.min(), "median": np.median(accuracy), "max": accuracy.max()}
    return {
        "experiment": "quickstart_digits",
        "truth": {"source": "train:5", "n": len(truth), **spread},
        "num_archs": len(truth),
        "num_inits": inits,
        "data": {
            "name": "digits",
            "num_images": 64,
            "how": "balanced",
            "seed": 0,
            "split": "train",
            "standardization": {"mean": [0.3053], "std": [0.3762]},
        },
        "metrics": metrics,
        "baselines": baselines,
        "compilations": 1,
        "seconds": {"total": 131.4, "compile": 21.8, "score": 24.1, "truth": 85.5},
        "memory": {"estimate_bytes": None, "peak_rss_bytes": 1_610_612_736},
    }


def _kernels(rng: np.random.Generator, truth: list[dict[str, Any]]) -> dict[str, Any]:
    labels = rng.permutation(np.arange(64) % 10)
    same = labels[:, None] == labels[None, :]
    features = rng.normal(size=(64, 200))
    best = 3e5 * (1 + 0.5 * same) + 2e3 * features @ features.T
    return {
        "best_gram": best,
        "worst_gram": np.zeros((64, 64)),
        "labels": labels,
        "best_arch": truth[0]["arch"],
        "worst_arch": arch_string(np.zeros(6, int)),
        "metric": "condition_number",
        "best_accuracy": truth[0]["accuracy"],
        "worst_accuracy": 10.0,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Returns a function that writes a run folder and returns its path."""

    def make(
        num: int = 60, num_inits: int = 2, *, all_invalid: bool = False, kernels: bool = True
    ) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / "run"
        folder.mkdir()
        scores, truth = _rows(rng, num, num_inits, all_invalid)
        config = {
            "experiment": "quickstart_digits",
            "command": "jaxntk run experiments/quickstart_digits.py --out runs/quickstart",
            "config": {"num_archs": num, "num_inits": num_inits, "batch_norm": "frozen"},
        }
        environment = {
            "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": None},
            "device": {"platform": "cpu", "kind": "cpu", "count": 1},
            "git": {"commit": "0123456789abcdef", "dirty": False},
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "environment.json").write_text(json.dumps(environment))
        (folder / "summary.json").write_text(json.dumps(_summary(scores, truth, num_inits)))
        write_rows(folder / "scores.jsonl", scores)
        write_rows(folder / "truth.jsonl", truth)
        if kernels:
            np.savez(folder / "kernels.npz", **_kernels(rng, truth))
        return folder

    return make
