"""How numbers and names of a run are written for people, in the terminal and in the report."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

MISSING = "\N{EN DASH}"

# JSON writes a whole number without its point.
Number = float | int

_BASELINES = {
    "params": "#params",
    "live_params": "#live params",
    "flops": "#FLOPs",
    "convolutions": "#convolutions",
}
_MINUS = "\N{MINUS SIGN}"
# Beyond this many cells the interval is narrow enough for a third decimal to mean something.
_THREE_DECIMALS_FROM = 1000


def score_name(name: str) -> str:
    """Writes the name of a metric or a baseline.

    Args:
        name: the key in the summary.

    Returns:
        The key itself for a metric; baselines are counts and get a number sign.

    Example:
        >>> score_name("flops"), score_name("trace")
        ('#FLOPs', 'trace')
    """
    return _BASELINES.get(name, name)


def number(value: Number | None, n: int) -> str:
    """Writes a correlation with as many decimals as its sample size bears.

    Args:
        value: the correlation, or None.
        n: the number of cells it was computed from.

    Returns:
        Two decimals below 1,000 cells and three from there on, with a true minus sign; a dash for
        None.

    Example:
        >>> number(0.4267, 300), number(0.4267, 15625), number(None, 2)
        ('0.43', '0.427', '–')
    """  # noqa: RUF002
    if value is None:
        return MISSING
    text = f"{value:.{3 if n >= _THREE_DECIMALS_FROM else 2}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def interval(bounds: Sequence[Number] | None, n: int) -> str:
    """Writes a confidence interval.

    Args:
        bounds: lower and upper bound, or None.
        n: the number of cells behind it.

    Returns:
        The two bounds, or a dash.

    Example:
        >>> interval([0.371, 0.489], 300)
        '0.37 to 0.49'
    """
    if bounds is None:
        return MISSING
    low, high = bounds
    return f"{number(low, n)} to {number(high, n)}"


def direction(row: Mapping[str, Any]) -> Literal["higher", "lower"]:
    """Says which way a score is better.

    Args:
        row: an entry of ``metrics`` or ``baselines`` in the summary.

    Returns:
        ``"higher"`` or ``"lower"``.
    """
    return "higher" if row["higher_is_better"] else "lower"


def count(num: int, noun: str) -> str:
    """Writes a count with its noun.

    Args:
        num: how many.
        noun: the singular; its plural ends in s.

    Returns:
        The count and the singular or plural.

    Example:
        >>> count(1, "cell"), count(3, "cell")
        ('1 cell', '3 cells')
    """
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def accuracy(value: Number | None) -> str:
    """Writes an accuracy in percent.

    Args:
        value: percent, or None.

    Returns:
        Two decimals, or a dash.

    Example:
        >>> accuracy(93.6549)
        '93.65'
    """
    return MISSING if value is None else f"{value:.2f}"


def seconds(value: Number | None) -> str:
    """Writes a duration.

    Args:
        value: seconds, or None.

    Returns:
        Seconds, minutes or hours, or a dash.

    Example:
        >>> seconds(0.5), seconds(75.2), seconds(7300)
        ('0.5 s', '1 min 15 s', '2 h 1 min')
    """
    if value is None:
        return MISSING
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(num_bytes: Number | None) -> str:
    """Writes an amount of memory.

    Args:
        num_bytes: bytes, or None.

    Returns:
        Mebibytes or gibibytes, or a dash.

    Example:
        >>> size(1536 * 2**20)
        '1.5 GiB'
    """
    if num_bytes is None:
        return MISSING
    if num_bytes < 2**30:
        return f"{num_bytes / 2**20:.3g} MiB"
    return f"{num_bytes / 2**30:.3g} GiB"
