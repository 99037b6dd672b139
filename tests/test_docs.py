"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "any_network.md": ("gram_NxN", (8, 8)),
    "search.md": ("history.scores", (100, 200)),
    "vintk.md": ("vintk", (4, 4)),
}
"""Pages with code, and the shape of what their last block made."""
PRINTED = ("digits201.md", "digits_vit.md")
"""Pages with one block of code, and what it prints in the next."""


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_run_one_after_another(name):
    page = DOCS / name
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    made, shape = PAGES[name]
    assert eval(made, names).shape == shape


@pytest.mark.parametrize("name", PRINTED)
def test_the_examples_print_what_is_said(name, capsys):
    page = (DOCS / name).read_text(encoding="utf-8")
    (code, printed), *_ = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", page, re.DOTALL)
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out == printed
