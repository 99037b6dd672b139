"""Experiments as Python files: a configuration, or a command line of their own."""

import dataclasses
import re
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from jaxntk.errors import InputError, did_you_mean
from jaxntk.studies.config import ExperimentConfig

MAIN_GUARD = re.compile(r"^if __name__ == .__main__.:", re.MULTILINE)


def load_experiment(file: Path) -> ExperimentConfig:
    """Reads the configuration that an experiment's file makes.

    Args:
        file: a Python file with a variable ``config``.

    Returns:
        The configuration.

    Raises:
        InputError: there is no such file, it cannot be run, or no configuration is in it.
    """
    config = run_file("experiment", file).get("config")
    if not isinstance(config, ExperimentConfig):
        cure = "the file must set config = ExperimentConfig(...)"
        raise InputError("experiment", f"{file} without a configuration", cure)
    return config


def is_script(file: Path) -> bool:
    """Tells whether an experiment has a command line of its own, presets for example.

    Args:
        file: a Python file.

    Returns:
        Whether it is meant to be run; False for what cannot be read.
    """
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return MAIN_GUARD.search(source) is not None


def run_script(file: Path, arguments: list[str]) -> int:
    """Runs an experiment with a command line of its own as ``python FILE`` does.

    Args:
        file: the file.
        arguments: its command line.

    Returns:
        Its exit code.
    """
    before = sys.argv
    sys.argv = [str(file), *arguments]
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return 0


def run_file(argument: str, file: Path) -> dict[str, Any]:
    """Runs a Python file.

    Args:
        argument: that names it.
        file: the file.

    Returns:
        Its variables.

    Raises:
        InputError: there is no such file, or it cannot be run.
    """
    if not file.is_file():
        there = [str(path) for path in file.parent.glob("*.py")] if file.parent.is_dir() else []
        cure = f"give an existing Python file{did_you_mean(str(file), there)}"
        raise InputError(argument, f"{file}, which does not exist", cure)
    try:
        return runpy.run_path(str(file))
    except (Exception, SystemExit) as error:
        # Python names an unknown field, and nothing close to it.
        field = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        known = [field.name for field in dataclasses.fields(ExperimentConfig)]
        cure = f"repair the file{did_you_mean(field[1], known) if field else ''}"
        got = f"{_place(file, error)} ({type(error).__name__}: {error})"
        raise InputError(argument, got, cure) from error


def _place(file: Path, error: BaseException) -> str:
    """Names the line of a file that an error comes from, as ``FILE:LINE``."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    if not lines and isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f"{file}:{lines[-1]}" if lines and lines[-1] is not None else str(file)
