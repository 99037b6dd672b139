"""Commands as lists of words: shown as a shell would read them, or executed one after another."""

import shlex
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console

from jaxntk.errors import InputError


class Command(NamedTuple):
    """One command.

    Args:
        words: the program and its arguments, as they are handed over.
        why: what it does, in a line.
    """

    words: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return shlex.join(self.words)


def show(commands: Sequence[Command], console: Console) -> None:
    """Prints commands so that they can be copied into a shell.

    Args:
        commands: in their order.
        console: where to print.
    """
    for command in commands:
        console.print(f"# {command.why}", style="dim", highlight=False, markup=False)
        # Not wrapped: a line that is broken is another command.
        console.print(str(command), soft_wrap=True, highlight=False, markup=False)


def execute(commands: Sequence[Command], console: Console) -> int:
    """Shows and executes commands until one fails.

    Args:
        commands: in their order.
        console: where they are shown.

    Returns:
        0, or the exit code of the one that failed.

    Raises:
        InputError: a program is not installed.
    """
    for command in commands:
        show([command], console)
        try:
            code = subprocess.run(command.words, check=False).returncode
        except FileNotFoundError as error:
            name = command.words[0]
            raise InputError("program", name, f"install {name}, or give --dry-run") from error
        if code:
            console.print(f"failed with exit code {code}", highlight=False)
            return code
    return 0


def cut(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Cuts a command line at ``--``.

    Args:
        arguments: the words.

    Returns:
        What stands before it, and what follows: words for the experiment.

    Example:
        >>> cut(["--shards", "4", "--", "--num-archs", "50"])
        (['--shards', '4'], ('--num-archs', '50'))
    """
    words = list(arguments)
    if "--" not in words:
        return words, ()
    at = words.index("--")
    return words[:at], tuple(words[at + 1 :])


def check_name(argument: str, value: str) -> None:
    """Refuses what cannot be the name of a machine, a zone or a job.

    Args:
        argument: that is checked.
        value: the name.

    Raises:
        InputError: it is empty or has other characters than letters, digits, dots and dashes.
    """
    if not value or not all(part.isalnum() for part in value.replace(".", "-").split("-")):
        raise InputError(argument, value, "give letters, digits, dots and dashes")
