"""How numbers and names of a run are written for people, in the terminal and in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

BASELINE_NAMES = {"params": "#params", "flops": "#FLOPs", "convolutions": "#convolutions"}
MISSING = "\N{EN DASH}"

_MINUS = "\N{MINUS SIGN}"
# Beyond this many cells the interval is narrow enough for a third decimal to mean something.
_THREE_DECIMALS_FROM = 1000


def number(value: float | None, n: int) -> str:
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


def interval(bounds: Sequence[float] | None, n: int) -> str:
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


def direction(row: Mapping[str, Any]) -> str:
    """Returns which way a score is better: ``"higher"`` or ``"lower"``.

    Args:
        row: an entry of ``metrics`` or ``baselines`` in the summary.
    """
    return "higher" if row["higher_is_better"] else "lower"


def plain(value: float | None) -> str:
    """Writes a score or an accuracy with four significant digits.

    Args:
        value: any number, or None.

    Example:
        >>> plain(93.6549), plain(1234567.0), plain(None)
        ('93.65', '1.235e+06', '–')
    """  # noqa: RUF002
    return MISSING if value is None else f"{value:.4g}".replace("-", _MINUS)


def seconds(value: float | None) -> str:
    """Writes a duration.

    Args:
        value: seconds, or None.

    Example:
        >>> seconds(0.5), seconds(75.2), seconds(7300)
        ('0.5 s', '1 min 15 s', '2 h 2 min')
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


def size(num_bytes: float | None) -> str:
    """Writes an amount of memory.

    Args:
        num_bytes: bytes, or None.

    Example:
        >>> size(1536 * 2**20)
        '1.5 GiB'
    """
    if num_bytes is None:
        return MISSING
    if num_bytes < 2**30:
        return f"{num_bytes / 2**20:.3g} MiB"
    return f"{num_bytes / 2**30:.3g} GiB"
