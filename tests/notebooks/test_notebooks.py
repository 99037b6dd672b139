"""Every notebook runs as the script it is paired with, and the pair says the same."""

import runpy
from pathlib import Path

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))


def test_every_notebook_is_paired() -> None:
    assert SCRIPTS
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert names == {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_and_script_say_the_same(script: Path) -> None:
    pair = [jupytext.read(path) for path in (script, script.with_suffix(".ipynb"))]
    cells = [[(cell.cell_type, cell.source) for cell in half.cells] for half in pair]
    assert cells[0] == cells[1], f"run: jupytext --sync {script.name}"


FIRST = [
    script if script.stem.startswith("01") else pytest.param(script, marks=pytest.mark.slow)
    for script in SCRIPTS
]


@pytest.mark.parametrize("script", FIRST, ids=lambda path: path.stem)
def test_notebook_runs(script: Path) -> None:
    mpl.use("Agg")
    runpy.run_path(str(script))
    plt.close("all")
