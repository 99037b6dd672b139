"""What searches choose, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def search_table(entries: Sequence[Mapping[str, Any]], report: str) -> Table:
    """Lays out what each kind of search chooses after how many evaluations.

    Args:
        entries: of :func:`jaxntk.studies.search.table.run_search_table`.
        report: what accuracy is meant.

    Returns:
        The table.
    """
    title = f"{report} of the choice, mean and standard deviation over searches"
    table = Table(title=title, title_justify="left")
    for name in ("search", "evaluations", "accuracy", "95 % of searches", "regret"):
        table.add_column(name)
    for entry in entries:
        table.add_row(
            entry["search"],
            str(entry["evaluations"]),
            f"{entry['mean']:.2f} \N{PLUS-MINUS SIGN} {entry['standard_deviation']:.2f}",
            f"{entry['percentile_2.5']:.2f} to {entry['percentile_97.5']:.2f}",
            f"{entry['regret']:.2f}",
        )
    return table


def chosen_table(summary: Mapping[str, Any]) -> Table:
    """Lays out what each search of a run chose.

    Args:
        summary: of :func:`jaxntk.studies.search.guided.run_guided_search`.

    Returns:
        The table.
    """
    known = "accuracy" in summary["searches"][0]
    told = "the weighted mean of percentiles among random ones, 0 to 100"
    score = told if len(summary["goals"]) > 1 else "one that is better low has a minus"
    title = f"the choice of each search (score: {score})"
    table = Table(title=title, title_justify="left")
    table.add_column("architecture", overflow="fold")
    for name in (
        "score \N{UPWARDS ARROW}",
        *(("accuracy", "regret") if known else ()),
        "distinct",
        "seconds",
    ):
        table.add_column(name, justify="right")
    for each in summary["searches"]:
        score = "none valid" if each["score"] is None else f"{each['score']:.4g}"
        worth = [_two(each[name]) for name in ("accuracy", "regret")] if known else []
        tail = (str(each["distinct"]), f"{each['seconds']:.1f}")
        # Six digits take a line, the cell's official string four.
        table.add_row(each.get("ops", each["arch"]), score, *worth, *tail)
    failed, told = summary["scores_failed"], summary["scores_told"]
    lines = [levels_line(summary)]
    selection = summary.get("selection")
    if selection:
        few = f"the best of {selection['finalists']} by {selection['truth']} is chosen"
        lines.insert(0, f"{few}; seconds are without what that takes")
    if summary["architectures_from_cache"]:
        scored = summary["architectures_scored"]
        lines.append(f"{summary['architectures_from_cache']} of {scored} scored by other runs")
    if failed:
        lines.append(f"{failed} of {told} scores failed: scores.jsonl says why")
    without = summary["searches_without_score"]
    if without:
        lines.append(f"{without} of {len(summary['searches'])} searches found no valid score")
    if failed > told / 2 and any("condition_number" in goal for goal in summary["goals"]):
        lines.append("condition numbers may ask for --dtype float64, or for fewer images")
    table.caption = "\n".join(lines)
    return table


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def levels_line(summary: Mapping[str, Any]) -> str:
    """Says what choices are worth, beside what costs nothing.

    Args:
        summary: has ``mean``, ``standard_deviation``, ``of`` and ``levels``.

    Returns:
        A line.
    """
    mean, spread = summary["mean"], summary["standard_deviation"]
    if mean is None:
        return "no search found a valid score"
    tail = "" if spread is None else f" \N{PLUS-MINUS SIGN} {spread:.4g}"
    text = f"{summary['of']}: mean {mean:.4g}{tail}"
    levels = summary["levels"]
    if not levels:
        return text
    return (
        f"{text}; best there is {levels['best_there_is']:.2f}; a random one "
        f"{levels['random']:.2f}, the largest (#params) of as many random ones "
        f"{levels['largest_of_random']:.2f}"
    )
