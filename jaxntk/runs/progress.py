"""Progress bars with rate and time left, and a word where there is nothing left."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")


class RateColumn(ProgressColumn):
    """Items a second, or seconds an item where that is easier to read."""

    def render(self, task: Task) -> Text:
        """Returns the text for one task."""
        if not task.speed:
            return Text("--")
        if task.speed >= 1:
            return Text(f"{task.speed:.1f}/s")
        return Text(f"{1 / task.speed:.1f} s each")


def say_complete(out: Path, console: Console) -> None:
    """Says that a run is made of what its folder held when it began.

    Args:
        out: the folder.
        console: where to say it.
    """
    line = f"complete already: nothing is computed, everything is in {out}"
    console.print(line, soft_wrap=True, highlight=False)


def track(items: Sequence[Item], description: str, console: Console) -> Iterable[Item]:
    """Yields the items while a progress bar is shown.

    Args:
        items: what to go through.
        description: shown in front of the bar.
        console: where to show it.

    Yields:
        The items.
    """
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, speed_estimate_period=60) as progress:
        yield from progress.track(items, description=description)
