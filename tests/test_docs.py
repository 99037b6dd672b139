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
