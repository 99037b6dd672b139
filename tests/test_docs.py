"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "any_network.md": ("gram_NxN", (8, 8)),
    "coming_from.md": ("same", (7, 7)),
    "fisher_spectrum.md": ("fisher", (39, 39)),
    "per_example_gradients.md": ("influence", (3, 5)),
    "search.md": ("history.scores", (100, 200)),
    "vintk.md": ("vintk", (4, 4)),
}
"""Pages with code, and the shape of what their last block made."""
PRINTED = ("digits201.md", "digits_vit.md")
"""Pages with one block of code, and what it prints in the next."""


NEEDS = {"coming_from.md": "neural-tangents"}
"""Pages with code that takes what is optional."""


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_run_one_after_another(name, capsys):
    if name in NEEDS:
        pytest.importorskip("frozendict", reason=f"{NEEDS[name]} is not installed")
    page = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", page, re.DOTALL)
    assert blocks
    names = {}
    for block, printed in blocks:
        exec(compile(block, name, "exec"), names)
        # What is not shown may be anything.
        assert capsys.readouterr().out == printed or not printed
    made, shape = PAGES[name]
    assert eval(made, names).shape == shape


@pytest.mark.parametrize("name", PRINTED)
def test_the_examples_print_what_is_said(name, capsys):
    page = (DOCS / name).read_text(encoding="utf-8")
    (code, printed), *_ = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", page, re.DOTALL)
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out == printed
