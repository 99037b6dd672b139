"""The HTML report of a run: one file that needs nothing else."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from jaxntk.errors import InputError
from jaxntk.metrics import METRICS
from jaxntk.results import plots, text, theme
from jaxntk.results.correlation import Correlation
from jaxntk.runs.finished import (
    Kernels,
    Run,
    count_statuses,
    load_run,
    mean_over_inits,
)
from jaxntk.runs.rows import write_bytes_atomic
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.spaces.space import Space

# What the statuses of a score mean, for readers of the notes on validity.
STATUS_NOTES = {
    "zero_kernel": "every entry of the kernel is zero: no weight reaches the output",
    "nonfinite": "the kernel or the score is infinite or not a number",
    "rank_deficient": "the smallest eigenvalue is zero up to rounding, so the ratio means nothing",
    "constant": "all entries are equal, so a correlation with them is undefined",
    "eigensolver_failed": "the eigenvalues could not be computed",
}
# What must be known to compare a score with another one, in every row of scores.jsonl.
_KERNEL_TERMS = {
    "batch_norm": "BatchNorm mode",
    "outputs": "kernel outputs",
    "parameters": "parameters in the kernel",
    "dtype": "precision",
    "matmul_precision": "precision of products",
}


def write_report(out_dir: str | os.PathLike[str]) -> Path:
    """Writes ``report.html`` into a finished run folder.

    The file holds its styles and figures and refers to nothing else. It is written whole or not.

    Args:
        out_dir: the ``--out`` of a run, with ``config.json``, ``environment.json``,
            ``summary.json``, ``scores.jsonl``, ``truth.jsonl`` and, if kept, ``kernels.npz``.

    Returns:
        Path of the report.

    Raises:
        InputError: `out_dir` is no run folder, the run has not ended, a file is broken, or the
            report cannot be written.
    """
    run = load_run(out_dir)
    path = run.folder / "report.html"
    write_bytes_atomic(path, render(run).encode())
    return path


def render(run: Run) -> str:
    """Renders the report of a run.

    Args:
        run: the content of its folder.

    Returns:
        An HTML document.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("jaxntk.results").joinpath("report.html.j2").read_text("utf-8")
    summary = run.summary
    return environment.from_string(source).render(
        summary=summary,
        command=run.config.get("command", ""),
        palette=theme.PALETTE,
        headline=headline(summary),
        setup=_setup(run),
        tables=[
            ("metrics", _table(summary["metrics"])),
            ("baselines", _table(summary["baselines"])),
        ],
        bars=_svg(plots.correlation_figure(summary), "bars", "Kendall tau of every score"),
        scatters=_scatters(run),
        kernels=None if run.kernels is None else _kernel_section(run.kernels, _space(run)),
        validity=_validity(run),
        status_notes=STATUS_NOTES,
        formulas=[METRICS[name] for name in summary["metrics"] if name in METRICS],
        config=_flatten(run.config.get("config", {})),
        environment=_flatten(run.environment),
    )


def headline(summary: Mapping[str, Any]) -> list[str]:
    """Says in a sentence or two what a run has found.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        The best metric, and how it compares with the best trivial baseline.
    """
    metric, baseline = _best(summary["metrics"]), _best(summary["baselines"])
    if metric is None:
        return ["No metric gave a ranking: every score is invalid or equal, or the accuracies are."]
    name, row = metric
    sentences = [
        f"{name} ranks the {row['n']} architectures best of {len(summary['metrics'])} metrics: "
        f"Kendall tau {_tau(row)}."
    ]
    if baseline is not None:
        rival, other = baseline
        rival = text.score_name(rival)
        relation = _relation(row["kendall_ci95"], other["kendall_ci95"])
        sentences.append(f"The best trivial baseline, {rival}, reaches {_tau(other)}{relation}.")
    return sentences


def _best(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]] | None:
    defined = [item for item in rows.items() if item[1]["kendall"] is not None]
    return max(defined, key=lambda item: item[1]["kendall"], default=None)


def _tau(row: Mapping[str, Any]) -> str:
    tau, bounds = text.number(row["kendall"], row["n"]), row["kendall_ci95"]
    if bounds is None:
        return f"{tau} (no interval)"
    # No line break inside of a number or an interval.
    interval = text.interval(bounds, row["n"]).replace(" ", "\N{NO-BREAK SPACE}")
    return f"{tau} (95\N{NO-BREAK SPACE}% interval {interval})"


def _relation(metric: list[text.Number] | None, baseline: list[text.Number] | None) -> str:
    if metric is None or baseline is None:
        return ""
    if metric[0] > baseline[1]:
        return ": the metric is ahead, and the intervals do not overlap"
    if metric[1] < baseline[0]:
        return ": the baseline is ahead, and the intervals do not overlap"
    return ": the intervals overlap"


def _setup(run: Run) -> list[tuple[str, str]]:
    summary = run.summary
    data, truth = summary["data"], summary["truth"]
    seconds, memory = summary.get("seconds", {}), summary.get("memory", {})
    inits = text.count(summary["num_inits"], "initialisation")
    spread = " / ".join(text.accuracy(truth.get(key)) for key in ("min", "median", "max"))
    rows = [
        ("architectures", f"{summary['num_archs']}, each with {inits}"),
        ("images", _images(data)),
        ("standardisation", _standardization(data.get("standardization"))),
        *_kernel_terms(run.scores),
        (
            "accuracy",
            f"{truth['source']}, {truth['n']} architectures, min / median / max {spread} %",
        ),
        ("compilations of the scoring function", str(summary.get("compilations", text.MISSING))),
        ("time", ", ".join(f"{key} {text.seconds(value)}" for key, value in seconds.items())),
        (
            "memory",
            f"estimate {text.size(memory.get('estimate_bytes'))}, "
            f"peak of the process {text.size(memory.get('peak_rss_bytes'))}",
        ),
    ]
    return [(term, value) for term, value in rows if value]


def _images(data: Mapping[str, Any]) -> str:
    return (
        f"{data['num_images']} of {data['name']}, {data['split']} split, {data['how']}, "
        f"seed {data['seed']}"
    )


def _standardization(moments: Mapping[str, Any] | None) -> str:
    if moments is None:
        return ""
    mean, std = ([f"{value:.4g}" for value in moments[key]] for key in ("mean", "std"))
    return f"mean ({', '.join(mean)}), standard deviation ({', '.join(std)}) per channel"


def _kernel_terms(scores: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Lists what every row says of its kernel; more than one value in a run would show as such."""
    return [
        (term, ", ".join(dict.fromkeys(str(row[key]) for row in scores if key in row)))
        for key, term in _KERNEL_TERMS.items()
    ]


def _table(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    best = _best(rows)
    return [
        {
            "name": text.score_name(name),
            "direction": text.direction(row),
            "kendall": text.number(row["kendall"], row["n"]),
            "interval": text.interval(row["kendall_ci95"], row["n"]),
            "raw": text.number(row["raw_kendall"], row["n"]),
            "spearman": text.number(row["spearman"], row["n"]),
            "n": row["n"],
            "invalid": row["invalid"],
            "best": best is not None and best[0] == name,
        }
        for name, row in rows.items()
    ]


def _scatters(run: Run) -> list[Markup]:
    truth = {row["arch"]: float(row["accuracy"]) for row in run.truth}
    summary, figures = run.summary, []
    for name, row in summary["metrics"].items():
        score = mean_over_inits(run.scores, name)
        figures.append(_scatter_figure(name, row, score, truth, theme.METRIC))
    for name, row in summary["baselines"].items():
        score = {cell["arch"]: float(cell[name]) for cell in run.scores}
        shown = text.score_name(name)
        figures.append(_scatter_figure(shown, row, score, truth, theme.BASELINE))
    names = [*summary["metrics"], *summary["baselines"]]
    return [
        _svg(figure, f"scatter-{index}", f"accuracy over {name}")
        for index, (name, figure) in enumerate(zip(names, figures, strict=True))
    ]


def _scatter_figure(
    name: str,
    row: Mapping[str, Any],
    score: Mapping[str, float],
    truth: Mapping[str, float],
    colour: str,
) -> Figure:
    archs = [arch for arch in score if arch in truth]
    bounds = row["kendall_ci95"]
    correlation = Correlation(
        kendall=row["kendall"],
        kendall_ci95=None if bounds is None else (bounds[0], bounds[1]),
        spearman=row["spearman"],
        n=row["n"],
        invalid=row["invalid"],
    )
    return plots.scatter_figure(
        np.array([score[arch] for arch in archs], np.float64),
        np.array([truth[arch] for arch in archs], np.float64),
        name,
        text.direction(row),
        correlation,
        colour=colour,
    )


def _space(run: Run) -> Space:
    """The space of a run; one of a user's own has to be added before its runs are read."""
    name = run.config.get("config", {}).get("space", NASBENCH201)
    if name not in SPACES:
        cure = "add it first: jaxntk --with FILE.py report DIR"
        raise InputError("space", f"{name!r} in {run.folder}", cure)
    return SPACES[name]


def _kernel_section(kernels: Kernels, space: Space) -> dict[str, Any]:
    sides = []
    for side, gram, arch, accuracy in (
        ("best", kernels.best_gram, kernels.best_arch, kernels.best_accuracy),
        ("worst", kernels.worst_gram, kernels.worst_arch, kernels.worst_accuracy),
    ):
        gram_plot = plots.gram_figure(gram, kernels.labels, "kernel")
        picture = ""
        if space.draw is not None:
            drawn = space.draw(space.read(arch), "architecture")
            picture = _svg(drawn, f"arch-{side}", f"the {side} architecture, {arch}")
        sides.append({
            "side": side,
            "arch": arch,
            "accuracy": text.accuracy(accuracy),
            "gram": _svg(gram_plot, f"gram-{side}", f"Gram matrix of the {side} architecture"),
            "picture": picture,
        })
    return {"metric": kernels.metric, "num_images": len(kernels.labels), "sides": sides}


def _validity(run: Run) -> list[dict[str, Any]]:
    """Lists the metrics with invalid scores and how many rows have each status."""
    notes = []
    for name, row in run.summary["metrics"].items():
        counts = count_statuses(run.scores, name)
        del counts["ok"]
        if counts or row["invalid"]:
            statuses = counts.most_common()
            notes.append({"name": name, "invalid": row["invalid"], "statuses": statuses})
    return notes


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", text.MISSING if value is None else str(value)))
    return rows


def _svg(figure: Figure, key: str, label: str) -> Markup:
    # Not user input: inline_svg escapes every text and attribute that it serialises.
    return Markup(theme.inline_svg(figure, key=key, label=label))
