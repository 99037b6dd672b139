"""Writes docs/api.md: every public name of every package, with the first line of what it says.

python docs/api.py
"""

import inspect
from importlib import import_module
from pathlib import Path

PACKAGES = ("data", "spaces", "networks", "kernels", "metrics", "population", "training", "search")
HEAD = """# Public names

Import a name from its package, `from jaxntk.kernels import empirical_ntk`; those under `jaxntk`
itself are also there. What stands here is kept from release to release; what does not may move.
This page is written by `python docs/api.py`.
"""


def page() -> str:
    """Returns the page."""
    sections = [_section("jaxntk"), *(_section(f"jaxntk.{name}") for name in PACKAGES)]
    return "\n".join([HEAD, *sections])


def _section(package: str) -> str:
    module = import_module(package)
    lines = [f"## {package}\n", f"{_first_line(module)}\n", "| name | |", "| --- | --- |"]
    for name in module.__all__:
        lines.append(f"| `{name}` | {_about(getattr(module, name))} |")
    return "\n".join([*lines, ""])


def _about(thing: object) -> str:
    """The first line of a docstring; a table or a module says what it is by its own."""
    own = inspect.ismodule(thing) or inspect.isclass(thing) or inspect.isroutine(thing)
    return _first_line(thing) if own else "a table by name"


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n", 1)[0].replace("|", r"\|")


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(page(), encoding="utf-8")
