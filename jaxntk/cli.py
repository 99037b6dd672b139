"""The command line: run, merge, score, correlate, report, train, verify, import-nasbench201.

Bad input ends in one line on standard error and exit code 2.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jax
import tyro
from rich.console import Console

from jaxntk import __version__
from jaxntk.data.nasbench201_import import import_nasbench201
from jaxntk.errors import InputError, did_you_mean
from jaxntk.experiment_file import is_script, load_experiment, run_file, run_script
from jaxntk.flags import in_one_line
from jaxntk.interrupt import INTERRUPTED, exit_at_interrupt
from jaxntk.results.report import write_report
from jaxntk.results.terminal import summary_table
from jaxntk.runs.config import Config
from jaxntk.runs.rows import write_json_atomic
from jaxntk.runs.shards import Shard
from jaxntk.runs.study import run_study
from jaxntk.studies.config import ExperimentConfig, ScoreConfig
from jaxntk.studies.correlate import correlate_run
from jaxntk.studies.merge import merge
from jaxntk.studies.rank import run, run_shard
from jaxntk.studies.retrain import RETRAIN
from jaxntk.studies.retrain_config import RetrainConfig
from jaxntk.studies.score import print_scores
from jaxntk.studies.verify import print_comparisons, verify

Options = TypeVar("Options")
BAD_INPUT = 2
DIFFERS = 1
PIPE_CLOSED = 141
PROGRAM = "jaxntk"


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Run an experiment, or go on with one that was stopped."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    shard: str | None = None
    """Run one part of the cells only, as I/N: 2/8 is the second of eight; see jaxntk merge."""


@dataclasses.dataclass(frozen=True)
class MergeOptions:
    """Join the shards of a run into the run in one piece."""

    folder: tyro.conf.Positional[Path]
    """Folder of the run, which holds those of its shards."""
    more: tyro.conf.Positional[tuple[Path, ...]] = ()
    """More such folders, where the shards were run on several machines."""
    out: Path | None = None
    """Folder to write the run to; by default the first folder."""


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """Score cells and print a table; nothing is written."""

    config: Annotated[ScoreConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class CorrelateOptions:
    """Hold the scores of a run against a ground truth, its own or a column of the table."""

    out: tyro.conf.Positional[Path]
    """Folder of the run."""
    truth: str
    """own for the run's own accuracies, a column such as cifar10/test/200, or a CSV file with
    columns arch and accuracy."""
    table: str | None = None
    """The benchmark table; by default where the environment variable JAXNTK_DATA points."""
    json: Path | None = None
    """File to write the correlations to as well."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Write report.html of a finished run anew."""

    out: tyro.conf.Positional[Path]
    """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train one architecture to the end, or go on with a training that was stopped."""

    out: Path
    """Folder of the training; the same folder again resumes it."""
    config: Annotated[RetrainConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class VerifyOptions:
    """Compare with what the official LGA code computed; exit code 1 where they differ."""

    file: tyro.conf.Positional[Path]
    """An .npz file of official numbers (layout: jaxntk.studies.verify)."""


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """Build the benchmark table nasbench201.csv.gz from the benchmark's own files."""

    source: Path
    """The folder NATS-tss-v1_0-3ffb9-simple."""
    out: Path
    """The file to write."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; by default the process's own, and
            Ctrl-C then ends the process.

    Returns:
        The exit code: 0, 1 where ``verify`` found a difference, 2 after bad input, 130 after
        Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    resumable = given[:1] in (["run"], ["merge"], ["train"])
    resumed = "; the same command goes on from here" if resumable else ""
    stopped = f"{PROGRAM}: stopped{resumed}"
    if arguments is None:
        return exit_at_interrupt(partial(_answer, given), stopped)
    try:
        return _answer(given)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED


def _answer(arguments: list[str]) -> int:
    """Runs one command; bad input gives one line on standard error."""
    try:
        return _dispatch(arguments)
    except InputError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # Whoever read the output has gone (`| head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _dispatch(arguments: list[str]) -> int:
    while arguments[:1] == ["--with"]:
        if len(arguments) == 1:
            raise InputError("--with", "nothing", "give a Python file that adds a space")
        run_file("--with", Path(arguments[1]))
        arguments = arguments[2:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else BAD_INPUT
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    if name not in COMMANDS:
        cure = f"commands are {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        raise InputError("command", repr(name), cure)
    return COMMANDS[name][1](rest)


def _run(arguments: list[str]) -> int:
    named = [argument for argument in arguments if argument.endswith(".py")] or arguments[:1]
    file = Path(named[0]) if named and not named[0].startswith("-") else None
    help_only = any(argument in ("-h", "--help") for argument in arguments)
    if file is None and not help_only:
        raise InputError(
            "experiment", "none", "give a file such as experiments/quickstart_digits.py"
        )
    rest = [argument for argument in arguments if file is None or argument != named[0]]
    if file is not None and is_script(file):
        return run_script(file, rest)
    default = None if file is None else load_experiment(file)
    prog = f"run {'EXPERIMENT.py' if file is None else file}"
    options = parse(RunOptions, prog, rest, ExperimentConfig, default)
    _set_precision(options.config.dtype)
    assert file is not None
    shard = None if options.shard is None else Shard.parse(options.shard)
    command = shlex.join([PROGRAM, "run", *arguments])
    run_part = run if shard is None else partial(run_shard, shard=shard)
    run_part(options.config, options.out, experiment=file.stem, command=command, console=Console())
    return 0


def _merge(arguments: list[str]) -> int:
    options = parse(MergeOptions, "merge", arguments)
    command = shlex.join([PROGRAM, "merge", *arguments])
    merge((options.folder, *options.more), options.out, command=command, console=Console())
    return 0


def _score(arguments: list[str]) -> int:
    options = parse(ScoreOptions, "score", arguments, ScoreConfig, None)
    _set_precision(options.config.dtype)
    print_scores(options.config, Console())
    return 0


def _correlate(arguments: list[str]) -> int:
    options = parse(CorrelateOptions, "correlate", arguments)
    summary = correlate_run(options.out, options.truth, options.table)
    if options.json is not None:
        write_json_atomic(options.json, summary)
    Console().print(summary_table(summary))
    return 0


def _report(arguments: list[str]) -> int:
    print(f"report: {write_report(parse(ReportOptions, 'report', arguments).out)}")
    return 0


def _train(arguments: list[str]) -> int:
    options = parse(TrainOptions, "train", arguments, RetrainConfig, None)
    _set_precision(options.config.dtype)
    command = shlex.join([PROGRAM, "train", *arguments])
    run_study(RETRAIN, options.config, options.out, command=command, console=Console())
    return 0


def _verify(arguments: list[str]) -> int:
    options = parse(VerifyOptions, "verify", arguments)
    jax.config.update("jax_enable_x64", True)
    return 0 if print_comparisons(verify(options.file)) else DIFFERS


def _import(arguments: list[str]) -> int:
    options = parse(ImportOptions, "import-nasbench201", arguments)
    cells = import_nasbench201(options.source, options.out)
    print(f"{cells} cells: {options.out}")
    return 0


COMMANDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "run": ("run experiments/NAME.py [PRESET] --out DIR [--shard I/N] [--field value ...]", _run),
    "merge": ("merge DIR", _merge),
    "score": ("score --data digits --batch-norm frozen --archs CELL ...", _score),
    "correlate": ("correlate DIR --truth cifar10/test/200", _correlate),
    "report": ("report DIR", _report),
    "train": ("train --arch CELL --data digits --out DIR [--space SPACE]", _train),
    "verify": ("verify FILE.npz", _verify),
    "import-nasbench201": ("import-nasbench201 --source DIR --out FILE", _import),
}


def parse(
    kind: type[Options],
    prog: str,
    arguments: Sequence[str],
    config: type[Config] | None = None,
    default: ScoreConfig | None = None,
) -> Options:
    """Parses flags into a dataclass, one line an error.

    Args:
        kind: the dataclass of the command; a field ``config`` holds a configuration.
        prog: name of the command, for its help.
        arguments: the flags.
        config: the type of that configuration, whose fields are flags too.
        default: values of those flags.

    Returns:
        The options.

    Raises:
        InputError: an unknown flag, a value that does not fit, or a required one that is missing.
    """
    record: Any = kind
    names = [field.name for field in dataclasses.fields(record)]
    names += [field.name for field in dataclasses.fields(config)] if config else []
    known = [f"--{name.replace('_', '-')}" for name in (*names, "help")]
    for argument in arguments:
        flag = argument.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            cure = f"see {PROGRAM} {prog} --help{did_you_mean(flag, known)}"
            raise InputError(flag, "an unknown flag", cure)
    if default is not None:
        kind = _with_default(kind, default)
    read = partial(tyro.cli, kind, args=arguments, prog=f"{PROGRAM} {prog}")
    return in_one_line(read, f"see {PROGRAM} {prog} --help")


def _with_default(kind: type[Options], config: ScoreConfig) -> type[Options]:
    """Makes the options of a command whose configuration has values; the rest stays required."""
    flat = Annotated[type(config), tyro.conf.arg(name="")]
    fields = [("config", flat, dataclasses.field(default=config))]
    names = {"__doc__": kind.__doc__, "__module__": kind.__module__}
    return dataclasses.make_dataclass(
        kind.__name__, fields, bases=(kind,), namespace=names, frozen=True
    )


def _set_precision(dtype: str) -> None:
    if dtype != "float32":
        jax.config.update("jax_enable_x64", True)


def _help() -> str:
    lines = [
        f"usage: {PROGRAM} COMMAND ...",
        "",
        *(f"  {PROGRAM} {use}" for use, _ in COMMANDS.values()),
    ]
    return "\n".join([
        *lines,
        "",
        f"{PROGRAM} COMMAND --help lists the flags of a command.",
        f"{PROGRAM} --with FILE.py COMMAND first adds a search space of your own (docs/extend.md).",
    ])
