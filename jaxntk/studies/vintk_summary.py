"""How well every score of every kernel ranks vision transformers, and which one the rule chooses.

The rule, written down before any kernel was looked at: of a table of ViT-Bench-101 the score with
the largest mean tau over the accuracies of PiT networks trained by themselves and of AutoFormer
networks that were taught by another. Whether a ViNTK does better than the condition number of the
NTK is judged by the difference of these means, with bounds that hold for all scores at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from jaxntk.data.vitbench101 import Networks
from jaxntk.metrics import METRICS, Score, ranking_values
from jaxntk.results.correlation import (
    bootstrap_kendall,
    correlate,
    percentile_interval,
)
from jaxntk.results.partial_correlation import Gain, partial_correlation, simultaneous_lower
from jaxntk.studies.vintk_config import NTK, VintkConfig

BASELINES = ("params", "flops", "depth", "width")
REFERENCE = (NTK, "condition_number")
RULE_TRUTHS = {"pit": "_base_acc", "autoformer": "_kd_acc"}
"""Ends of the columns that the rule takes of each family."""
RESAMPLES = 2000

Rows = Mapping[tuple, Mapping[str, Any]]
Costs = Mapping[str, Float[np.ndarray, " num"]]


class Ranked(NamedTuple):
    """Scores of the networks of a set in their good direction.

    Args:
        kernel: name of the kernel; None for a baseline.
        score: name of the metric or baseline.
        values: ranks, 0 where a score is invalid.
        valid: where it is not.
    """

    kernel: str | None
    score: str
    values: Float[np.ndarray, " num"]
    valid: Bool[np.ndarray, " num"]

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score itself."""
        return self.kernel is None or METRICS[self.score].higher_is_better


def vintk_entries(
    config: VintkConfig, name: str, networks: Networks, costs: Costs, rows: Rows
) -> list[dict[str, Any]]:
    """Correlates every score of a set with every truth.

    Args:
        config: names kernels and metrics.
        name: of the set.
        networks: of the set.
        costs: #params, FLOPs, depth and width of each.
        rows: by set, name and kernel; none is missing.

    Returns:
        An entry for each score and truth: ``set``, ``kernel`` (None for baselines), ``score``,
        ``truth``, the correlation, and the partial one given #params.
    """
    entries = []
    for ranked in ranked_scores(config, name, networks, costs, rows):
        for truth, accuracies in networks.accuracies.items():
            known = np.isfinite(accuracies)
            if known.sum() < 2:
                continue
            values, params = ranked.values[known], costs["params"][known]
            found = correlate(
                values,
                accuracies[known],
                invalid=int((~ranked.valid[known]).sum()),
                resamples=RESAMPLES,
            ).to_dict(higher_is_better=ranked.higher_is_better)
            partial = partial_correlation(
                values, accuracies[known], params, resamples=RESAMPLES
            ).to_dict()
            about = {"set": name, "kernel": ranked.kernel, "score": ranked.score, "truth": truth}
            entries.append(about | found | partial)
    return entries


def rule_entries(
    config: VintkConfig,
    sets: Mapping[str, Networks],
    costs: Mapping[str, Costs],
    rows: Rows,
) -> dict[str, Any]:
    """Orders all scores by the rule of the module.

    Args:
        config: names kernels and metrics.
        sets: the networks of each set.
        costs: #params, FLOPs, depth and width of the networks of each set.
        rows: by set, name and kernel; none is missing.

    Returns:
        ``truths``, what the mean is taken over; ``entries``, best first, each with ``kernel``,
        ``score``, the mean tau with its interval over resamples of the networks of each set, and
        its difference from the condition number of the NTK, with a lower bound that holds for all
        ViNTKs at once; ``chosen``, the best ViNTK; and ``verdict``, a sentence.
    """
    truths = [
        (name, truth)
        for name, networks in sets.items()
        for truth, values in networks.accuracies.items()
        if truth.endswith(RULE_TRUTHS[networks.family]) and np.isfinite(values).all()
    ]
    by_set = {
        name: ranked_scores(config, name, networks, costs[name], rows)
        for name, networks in sets.items()
    }
    seeds = {name: at for at, name in enumerate(sets)}
    means = {
        (each.kernel, each.score): _mean_taus([
            (by_set[name][at].values, sets[name].accuracies[truth], seeds[name])
            for name, truth in truths
        ])
        for at, each in enumerate(next(iter(by_set.values())))
    }
    fewest = min((len(networks.archs) for networks in sets.values()), default=0)
    reference = means.get(REFERENCE)
    entries, gains = [], []
    for (kernel, score), (tau, drawn) in means.items():
        gain = _gain(tau, drawn, reference, fewest)
        interval = percentile_interval(drawn, fewest)
        entries.append({
            "kernel": kernel,
            "score": score,
            "mean_kendall": tau if np.isfinite(tau) else None,
            "mean_kendall_ci95": None if interval is None else [*interval],
            **gain.to_dict(),
        })
        gains.append(gain if kernel not in (None, NTK) else Gain(None, None))
    for entry, bound in zip(entries, simultaneous_lower(gains), strict=True):
        entry["gain_low_of_all"] = bound
    # What orders nothing comes last.
    entries.sort(
        key=lambda e: -np.inf if e["mean_kendall"] is None else e["mean_kendall"], reverse=True
    )
    chosen = next((e for e in entries if e["kernel"] not in (None, NTK)), None)
    return {
        "truths": [f"{name}/{truth}" for name, truth in truths],
        "entries": entries,
        "chosen": chosen,
        "verdict": _verdict(entries, chosen),
    }


def ranked_scores(
    config: VintkConfig, name: str, networks: Networks, costs: Costs, rows: Rows
) -> list[Ranked]:
    """Lists the scores of the networks of a set: every metric of every kernel, then baselines.

    Args:
        config: names kernels and metrics.
        name: of the set.
        networks: of the set.
        costs: #params, FLOPs, depth and width of each.
        rows: by set, name and kernel; none is missing.

    Returns:
        The scores, in the same order for every set.
    """
    found = []
    for kernel in config.variants:
        of_kernel = [rows[name, each, kernel]["metrics"] for each in networks.names]
        for metric in config.metrics:
            scores = [Score.from_json(each[metric]) for each in of_kernel]
            valid = np.array([score.valid for score in scores])
            values = ranking_values(scores, METRICS[metric].higher_is_better)
            found.append(Ranked(kernel, metric, values, valid))
    everything = np.ones(len(networks.names), bool)
    found += [Ranked(None, each, costs[each], everything) for each in BASELINES]
    return found


def _gain(
    tau: float,
    drawn: Float[np.ndarray, " resamples"],
    reference: tuple[float, Float[np.ndarray, " resamples"]] | None,
    fewest: int,
) -> Gain:
    """How much larger a mean tau is than that of the reference, if both are numbers."""
    if reference is None or not np.isfinite([tau, reference[0]]).all():
        return Gain(None, None)
    difference = drawn - reference[1]
    return Gain(tau - reference[0], percentile_interval(difference, fewest), difference)


def _mean_taus(
    ranked: Sequence[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"], int]],
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """Returns the mean tau over scores, truths and seeds of sets, and that of each resample.

    NaN where a score orders nothing in one of the sets. Networks of a set are resampled alike for
    all its truths and all scores, those of another set independently of them.
    """
    taus = np.array([float(scipy.stats.kendalltau(x, y)[0]) for x, y, _ in ranked])  # pyright: ignore[reportArgumentType]
    if not ranked or not np.isfinite(taus).all():
        return np.nan, np.full(RESAMPLES, np.nan)
    drawn = [
        bootstrap_kendall(values, truth, seed=seed, resamples=RESAMPLES)
        for values, truth, seed in ranked
    ]
    return float(taus.mean()), np.mean(drawn, axis=0)


def _verdict(entries: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any] | None) -> str:
    if chosen is None or chosen["mean_kendall"] is None:
        return "no ViNTK was ranked"
    best = f"best ViNTK by the rule: {chosen['score']} of {chosen['kernel']}"
    tau = f"mean tau {chosen['mean_kendall']:.2f}"
    first = max(
        (e for e in entries if e["kernel"] is None and e["mean_kendall"] is not None),
        key=lambda e: e["mean_kendall"],
    )
    beside = f"best baseline {first['score']} {first['mean_kendall']:.2f}"
    if chosen["gain"] is None:
        return f"{best}, {tau}; {beside}"
    text = f"{best}, {tau}, {chosen['gain']:+.2f} beside the NTK's condition number"
    bounds, bound = chosen["gain_ci95"], chosen["gain_low_of_all"]
    if bounds is None or bound is None:
        return f"{text}; {beside}"
    alone = f"({bounds[0]:+.2f} to {bounds[1]:+.2f} by itself, at least {bound:+.2f} as the best)"
    return f"{text} {alone}; {beside}"
