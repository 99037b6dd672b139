"""How well each score ranks architectures after t epochs, and what it adds to cheaper ones."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxntk.kernels.fourier import NTK
from jaxntk.metrics import METRICS, Score, Status, ranking_values
from jaxntk.results.correlation import correlate
from jaxntk.results.partial_correlation import (
    Gain,
    gain,
    partial_correlation,
    rank_together,
    simultaneous_lower,
)
from jaxntk.studies.over_epochs_config import OverEpochsConfig
from jaxntk.studies.readings import OF_TRAINING

COMPETITORS = ("loss_sum", "valid_accuracy")
"""What a kernel after t epochs has to add to, beside the number of parameters."""

Rows = Mapping[tuple, Mapping[str, Any]]


class Ranked(NamedTuple):
    """Scores of all architectures in their good direction.

    Args:
        values: ranks, 0 where a score is invalid.
        invalid: how many are.
        higher_is_better: the direction of the score itself.
    """

    values: Float[np.ndarray, " num"]
    invalid: int
    higher_is_better: bool


def over_epochs_entries(
    config: OverEpochsConfig,
    baselines: Sequence[str],
    archs: Sequence[str],
    rows: Rows,
    truth: Float[np.ndarray, " num"],
    groups: Int[np.ndarray, " num"],
) -> list[dict[str, Any]]:
    """Correlates every score after every epoch with the truth.

    A score is the mean over seeds. Scores of a network whose training diverged are invalid and
    rank last. Intervals are over functions: architectures that compute the same one stay together.

    Args:
        config: names the epochs, modes, seeds and metrics.
        baselines: counts that rows hold; the last one is what other scores have to add to.
        archs: written forms of the architectures.
        rows: by architecture, seed, epochs, mode and kernel; none is missing.
        truth: accuracy of each architecture.
        groups: numbers the functions that they compute.

    Returns:
        An entry for each score, epoch and mode (None for scores without a kernel), with ``score``,
        ``epochs``, ``batch_norm``, the correlation with the truth, the partial one given
        the last baseline, under ``with_`` and its name the tau of the mean of both ranks, and under
        ``beyond`` what the score gains over it and, at the same epoch, over that
        together with the sum of losses or the validation accuracy: the gain, its 95 % interval,
        and for kernel scores a lower bound that holds for all of them at once.
    """
    entries: list[dict[str, Any]] = []
    first = [rows[arch, config.seed, *_any(config, config.epochs[0])] for arch in archs]
    counts = {name: np.array([row[name] for row in first], float) for name in baselines}
    count = baselines[-1]
    gains: dict[str, list[tuple[dict[str, Any], Gain]]] = {}
    for epoch in config.epochs:
        cheap = {
            name: ranked
            for name, higher in OF_TRAINING.items()
            if (ranked := _trained(config, archs, rows, name, epoch, higher)) is not None
        }
        given = {count: [counts[count]]} | {
            f"{count}+{name}": [counts[count], cheap[name].values]
            for name in COMPETITORS
            if name in cheap
        }
        read = product(config.variants(epoch), config.metrics, config.modes)
        for kernel, metric, mode in read:
            ranked = _metric(config, archs, rows, metric, (epoch, mode, kernel))
            name = metric if kernel == NTK else f"{metric}@{kernel}"
            entry, found = _entry((name, epoch, mode), ranked, truth, given, groups)
            entries.append(entry)
            for over, each in found.items():
                gains.setdefault(over, []).append((entry["beyond"][over], each))
        for name, ranked in cheap.items():
            entries.append(_entry((name, epoch, None), ranked, truth, _only(given), groups)[0])
    for name, values in counts.items():
        ranked = Ranked(values, 0, True)
        entries.append(_entry((name, None, None), ranked, truth, _only(given), groups)[0])
    for pairs in gains.values():
        bounds = simultaneous_lower([each for _, each in pairs])
        for (beyond, _), bound in zip(pairs, bounds, strict=True):
            beyond["gain_low_of_all"] = bound
    return entries


def verdict(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says in sentences whether the kernels are worth their price.

    Args:
        entries: of :func:`over_epochs_entries`.

    Returns:
        A sentence for each thing that a kernel metric has to add to.
    """
    kernels = [entry for entry in entries if entry["batch_norm"] is not None]
    names = {name: None for entry in kernels for name in entry["beyond"]}
    return [_sentence(name, [e for e in kernels if name in e["beyond"]]) for name in names]


def _sentence(name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    if all(entry["beyond"][name]["gain"] is None for entry in entries):
        return f"too few cells to say what kernel scores add to {name}"
    adds = [e for e in entries if (e["beyond"][name]["gain_low_of_all"] or 0) > 0]
    head = (
        f"{len(adds)} of {len(entries)} kernel scores add to {name} "
        f"(95 % sure of all of them at once)"
    )
    if not adds:
        return head
    best = max(adds, key=lambda entry: entry["beyond"][name]["gain_low_of_all"])
    found = best["beyond"][name]
    return (
        f"{head}; surest {best['score']} after {best['epochs']} epochs, {best['batch_norm']}: "
        f"tau {found['gain']:+.3f}, at least {found['gain_low_of_all']:+.3f}"
    )


def _only(given: Mapping[str, Any]) -> dict[str, Any]:
    name = next(iter(given))
    return {name: given[name]}


def _any(config: OverEpochsConfig, epoch: int) -> tuple[int, str, str]:
    """A row after some epochs: what does not depend on the kernel stands in all of them."""
    return epoch, config.modes[0], next(iter(config.variants(epoch)))


def _metric(
    config: OverEpochsConfig,
    archs: Sequence[str],
    rows: Rows,
    name: str,
    where: tuple[int, str, str],
) -> Ranked:
    scores = [
        _mean([Score.from_json(rows[arch, seed, *where]["metrics"][name]) for seed in config.seeds])
        for arch in archs
    ]
    return _ranked(scores, METRICS[name].higher_is_better)


def _trained(
    config: OverEpochsConfig,
    archs: Sequence[str],
    rows: Rows,
    name: str,
    epoch: int,
    higher: bool,
) -> Ranked | None:
    """Returns None where the data have no such score: no epoch yet, or no validation images."""
    where = _any(config, epoch)
    of_archs = [[rows[arch, seed, *where] for seed in config.seeds] for arch in archs]
    if all(row[name] is None for each in of_archs for row in each):
        return None
    scores = [
        _mean([
            Score.of(row[name])
            if row["finite"] and row[name] is not None
            else Score.invalid(Status.NONFINITE)
            for row in each
        ])
        for each in of_archs
    ]
    return _ranked(scores, higher)


def _mean(scores: Sequence[Score]) -> Score:
    bad = next((score for score in scores if not score.valid), None)
    return bad or Score.of(float(np.mean([score.value for score in scores])))


def _ranked(scores: Sequence[Score], higher: bool) -> Ranked:
    invalid = sum(not score.valid for score in scores)
    return Ranked(ranking_values(scores, higher), invalid, higher)


def _entry(
    what: tuple[str, int | None, str | None],
    ranked: Ranked,
    truth: Float[np.ndarray, " num"],
    given: Mapping[str, Sequence[Float[np.ndarray, " num"]]],
    groups: Int[np.ndarray, " num"],
) -> tuple[dict[str, Any], dict[str, Gain]]:
    """Returns the entry of a score, and its gains with their resamples."""
    count = next(iter(given))
    (params,) = given[count]
    values = ranked.values
    both = correlate(rank_together(params, values), truth, invalid=0, groups=groups)
    gains = {name: gain(values, truth, each, groups=groups) for name, each in given.items()}
    entry = (
        dict(zip(("score", "epochs", "batch_norm"), what, strict=True))
        | correlate(values, truth, invalid=ranked.invalid, groups=groups).to_dict(
            higher_is_better=ranked.higher_is_better
        )
        | partial_correlation(values, truth, params, groups=groups).to_dict()
        | {
            f"with_{count}": both.kendall,
            f"with_{count}_ci95": both.to_dict(higher_is_better=True)["kendall_ci95"],
            "beyond": {name: each.to_dict() for name, each in gains.items()},
        }
    )
    return entry, gains
