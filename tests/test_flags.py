"""Errors of flags: one line that names the flag, what it got and what it takes."""

import dataclasses
from functools import partial
from typing import Literal

import pytest
import tyro

from jaxntk.errors import InputError
from jaxntk.flags import in_one_line


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every kind."""

    kind: Literal["cell", "transformer"]
    """What is searched."""
    count: int = 1
    share: float = 0.5
    sizes: tuple[int, ...] = ()
    limit: int | None = None
    pair: tuple[int, str] = (1, "a")


def read(*arguments):
    return in_one_line(partial(tyro.cli, Options, args=arguments), "see --help")


def test_what_is_right_is_read():
    assert read("--kind", "cell", "--sizes", "1", "2") == Options("cell", sizes=(1, 2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--count", "many"), "--count: got 'many'; give a whole number; see --help"),
        (("--count", "1.5"), "--count: got '1.5'; give a whole number; see --help"),
        (("--share", "half"), "--share: got 'half'; give a number; see --help"),
        (("--sizes", "1", "big"), "--sizes: got '1 big'; give whole numbers; see --help"),
        (("--limit", "none"), "--limit: got 'none'; give a whole number, or None; see --help"),
        (("--pair", "x", "y"), "--pair: got 'x y'; give a value of the kind INT STR; see --help"),
        (("--count",), "--count: got no value; see --help"),
        (("--kind", "graph"), "invalid choice 'graph' for argument '--kind'"),
        (("--cuont", "1"), "--cuont"),
        ((), "--kind: got nothing, and it is required; choose from cell, transformer; see --help"),
    ],
)
def test_bad_flags_are_one_line(arguments, said):
    given = arguments if "--kind" in arguments or not arguments else ("--kind", "cell", *arguments)
    with pytest.raises(InputError) as caught:
        read(*given)
    line = str(caught.value)
    assert said in line
    assert "\n" not in line
    assert not set("│╭╰─") & set(line)


def test_help_is_shown(capsys):
    with pytest.raises(SystemExit) as stopped:
        read("--help")
    assert stopped.value.code == 0
    assert "What is searched." in capsys.readouterr().out
