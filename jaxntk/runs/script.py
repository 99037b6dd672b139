"""How an experiment with a command line of its own begins and ends."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro
from rich.console import Console

from jaxntk.errors import InputError, check_choice
from jaxntk.flags import in_one_line
from jaxntk.interrupt import exit_at_interrupt

BAD_INPUT = 2
Options = TypeVar("Options")


def exit_code(run: Callable[[], object], stopped: str = "the same command goes on") -> int:
    """Runs an experiment; bad input and Ctrl-C give one line on standard error.

    It is for a process of its own, which Ctrl-C ends.

    Args:
        run: the experiment.
        stopped: what is said after Ctrl-C.

    Returns:
        0, or 2 after bad input; after Ctrl-C the process ends with 130.
    """
    return exit_at_interrupt(partial(_refusing, run), f"interrupted; {stopped}")


def _refusing(run: Callable[[], object]) -> int:
    """Runs an experiment; bad input gives one line on standard error."""
    try:
        run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def read_options(
    kind: type[Options], description: str | None, arguments: Sequence[str] | None = None
) -> Options:
    """Reads the options of an experiment; bad ones end the process with one line and exit code 2.

    Args:
        kind: dataclass of the options.
        description: of the experiment.
        arguments: flags; by default those of the process.

    Returns:
        The options.
    """
    return _read(partial(tyro.cli, kind, args=arguments, description=_paragraphs(description)))


def _paragraphs(description: str | None) -> str | None:
    """Sets headings such as ``Paper`` apart, as the library runs lines together."""
    return None if description is None else re.sub(r"\n+(?=[A-Z]\w+ {2})", "\n\n", description)


def _read(read: Callable[[], Options], preset: str = "") -> Options:
    try:
        return in_one_line(read, f"see {Path(sys.argv[0]).name}{preset} --help")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def _read_preset(presets: Mapping[str, tuple[str, Any]], description: str | None) -> Any:
    """Reads the options of a preset, which is the first word."""
    asked = next(iter(sys.argv[1:]), "")
    if asked not in ("-h", "--help"):
        try:
            if not asked or asked.startswith("-"):
                cure = f"begin with one of {', '.join(presets)}"
                raise InputError("preset", "none", cure)
            check_choice("preset", asked, tuple(presets))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(BAD_INPUT)
    choose = partial(
        tyro.extras.overridable_config_cli, dict(presets), description=_paragraphs(description)
    )
    return _read(choose, f" {asked}")


def run_preset(
    presets: Mapping[str, tuple[str, Any]] | type[Any],
    description: str | None,
    run: Callable[..., object],
    stopped: str = "the same command goes on",
) -> int:
    """Reads options from the command line and runs the experiment.

    Args:
        presets: a line about each and its options, with fields ``out`` and ``config``; or the
            class of the options, where there is nothing to choose from.
        description: of the experiment.
        run: ``(config, out, *, command, console)``.
        stopped: what is said after Ctrl-C.

    Returns:
        The exit code, as of :func:`exit_code`.
    """
    options: Any
    if isinstance(presets, type):
        options = read_options(presets, description)
    else:
        options = _read_preset(presets, description)
    if getattr(options.config, "dtype", None) in ("float64", "mixed"):
        jax.config.update("jax_enable_x64", True)
    command = shlex.join(["python", *sys.argv])
    study = partial(run, options.config, options.out, command=command, console=Console())
    return exit_code(study, stopped)
