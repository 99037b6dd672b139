"""Tables, figures and summaries that studies leave behind."""

import io

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from jaxntk.errors import InputError
from jaxntk.runs import publish
from jaxntk.runs.publish import Publication, table_csv, write_figure
from jaxntk.runs.rows import read_json


def test_a_table_has_a_column_a_field_and_two_an_interval():
    entries = [
        {"name": "a", "tau": 0.123456, "tau_ci95": (0.1, 0.2), "n": 3},
        {"name": "b, c", "tau": None, "tau_ci95": None, "n": 4},
    ]
    assert table_csv(entries).splitlines() == [
        "name,tau,tau_low,tau_high,n",
        "a,0.1235,0.1000,0.2000,3",
        '"b, c",,,,4',
    ]
    assert table_csv([]) == ""


def test_everything_is_written_and_shown(tmp_path):
    console = Console(file=io.StringIO(), width=80)
    table = Table("column")
    table.add_row("cell")
    publication = Publication({"t.csv": [{"x": 1}]}, {"f.png": Figure()}, [table, "a sentence"])
    publish.publish(tmp_path, {"seconds": 1.5}, publication, console)
    assert (tmp_path / "t.csv").read_text() == "x\n1\n"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert read_json(tmp_path / "summary.json") == {"seconds": 1.5}
    shown = console.file.getvalue()
    assert shown.index("cell") < shown.index("a sentence") < shown.index(str(tmp_path)[:20])


def test_the_summary_is_written_last(tmp_path):
    """Where there is one, tables and figures are there too."""
    (tmp_path / "f.png").mkdir()
    publication = Publication({"t.csv": [{"x": 1}]}, {"f.png": Figure()}, [])
    with pytest.raises(InputError, match=r"f\.png"):
        publish.publish(tmp_path, {}, publication, Console(file=io.StringIO()))
    assert not (tmp_path / "summary.json").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        write_figure(tmp_path / "nowhere" / "f.png", Figure())
