"""Errors of command lines in one line, where the library that parses them draws a box."""

import contextlib
import io
import itertools
import re
from collections.abc import Callable
from typing import TypeVar

from jaxntk.errors import InputError

Options = TypeVar("Options")
KINDS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "{None}|INT": "a whole number, or None",
    "{None}|FLOAT": "a number, or None",
    "[INT [INT ...]]": "whole numbers",
    "[FLOAT [FLOAT ...]]": "numbers",
}
"""What a flag takes, by how the library's help has it."""


def in_one_line(read: Callable[[], Options], see: str) -> Options:
    """Reads a command line by tyro.

    Args:
        read: calls tyro.
        see: where the flags are explained.

    Returns:
        What was read.

    Raises:
        InputError: what tyro refuses.
        SystemExit: help was asked for and shown.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return read()
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _told(errors.getvalue(), see) from None


def _told(box: str, see: str) -> InputError:
    """Makes an error of the box that tyro draws."""
    lines, *rest = _parts(box)
    text = " ".join(line.strip() for line in lines)
    if wrong := re.match(r"Error parsing (\S+): (.*)", text):
        return _of_wrong_kind(wrong[1], wrong[2], rest, see)
    if valueless := re.match(r"Missing value for argument '([^']+)'", text):
        return InputError(valueless[1], "no value", see)
    heading = next((at for at, line in enumerate(lines) if line.rstrip().endswith(":")), len(lines))
    if text.startswith("Missing from ") and lines[heading + 1 :]:
        return _required(lines[heading + 1 :], see)
    return InputError("flags", text, see)


def _required(lines: list[str], see: str) -> InputError:
    """Makes an error of flags that are missing: a line each, and below, further in, its text."""
    starts = [at for at, line in enumerate(lines) if _indentation(line) == _indentation(lines[0])]
    name, _, values = lines[0].strip().partition(" ")
    others = ", ".join(lines[at].split()[0] for at in starts[1:])
    got = f"nothing, and it is required{f', like {others}' if others else ''}"
    if values.startswith("{"):
        options = ", ".join(values.strip("{}").split(","))
        return InputError(name, got, f"choose from {options}; {see}")
    about = " ".join(line.strip() for line in lines[1 : [*starts, len(lines)][1]])
    about = about.removesuffix("(required)").strip().removesuffix(".")
    return InputError(name, got, f"give {about[:1].lower()}{about[1:]}; {see}")


def _of_wrong_kind(name: str, reason: str, rest: list[list[str]], see: str) -> InputError:
    """Makes an error of a value that cannot be read; the help of its flag says its kind."""
    got = " ".join(re.findall(r"'([^']*)'", reason.split("Got errors")[0]))
    lines = [line.strip() for part in rest for line in part]
    kinds = [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]
    kind = KINDS.get(kinds[0], f"a value of the kind {kinds[0]}") if kinds else "another value"
    return InputError(name, repr(got), f"give {kind}; {see}")


def _parts(box: str) -> list[list[str]]:
    """Takes apart what is drawn in a box: its message, and more below rules."""
    lines = [re.sub(r"^[│╰]|[│╯\s]+$", "", line) for line in box.splitlines()[1:]]
    parts = itertools.groupby(lines, lambda line: bool(re.fullmatch(r"[─\s-]*", line)))
    return [list(part) for is_rule, part in parts if not is_rule] or [[]]


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
