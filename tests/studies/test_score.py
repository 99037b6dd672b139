"""The tables of scores: every number is whole, and a terminal of 80 columns is enough."""

import pytest
from rich.console import Console

from jaxntk.studies.score import score_tables

NAMES = ("cell", *(f"metric_number_{index} ↑" for index in range(7)), "params")
LINES = [
    (ops, *(f"{ops}.{index}" for index in range(6)), "eigensolver_failed", "1,234,567")
    for ops in ("421211", "000000")
]


def printed(width):
    console = Console(width=width, record=True, file=None, quiet=True)
    tables = score_tables("digits", NAMES, LINES, console)
    with console.capture() as capture:
        console.quiet = False
        for table in tables:
            console.print(table)
    return len(tables), capture.get()


@pytest.mark.parametrize(("width", "least", "most"), [(400, 1, 1), (80, 2, 4), (32, 8, 8)])
def test_tables_fit_and_hold_every_entry_once(width, least, most):
    number, text = printed(width)
    assert least <= number <= most
    assert max(map(len, text.splitlines())) <= width
    assert text.count("digits") == 1
    assert "…" not in text
    for name in NAMES[1:]:
        assert text.count(name) == 1, name
    for line in LINES:
        assert sum(row.startswith(f"│ {line[0]}") for row in text.splitlines()) == number
        for entry in line[1:-2]:
            assert text.count(entry) == 1, entry
    for entry in LINES[0][-2:]:
        assert text.count(entry) == len(LINES), entry
