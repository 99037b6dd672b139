"""Runs an experiment on the GPUs of this machine, a shard on each, and merges the results.

What      starts a process for each GPU, waits for all of them and merges their shards.
Paper     none.
Needs     nothing; with one GPU it is jaxntk run itself.
Time      that of the experiment.
Command   python experiments/launch/gpus.py --experiment experiments/init_metrics_nasbench201.py
            --out runs/init --gpus 0 1 2 3
          the same command again goes on where it was stopped; --dry-run prints the commands. Words
          after -- are for the experiment.
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated

import tyro
from rich.console import Console

from jaxntk.launch.commands import cut, show
from jaxntk.launch.gpus import GPUJob, commands, run
from jaxntk.runs.script import exit_code, read_options


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run an experiment on the GPUs of this machine."""

    job: Annotated[GPUJob, tyro.conf.arg(name="")]
    """The GPUs and the experiment."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the commands only."""


def main() -> None:
    """Runs the shards, or prints their commands."""
    own, flags = cut(sys.argv[1:])
    options = read_options(Options, __doc__, own)
    job = replace(options.job, flags=flags)
    if not options.dry_run:
        sys.exit(run(job, Console()))
    found, merge = commands(job)
    show([*(command for command, _ in found), *([] if merge is None else [merge])], Console())


if __name__ == "__main__":
    sys.exit(exit_code(main))
