"""Runs an experiment on a Cloud TPU VM or slice, step by step; see docs/tpu.md.

What      prints the commands of a step, or gives them to gcloud.
Paper     none.
Needs     gcloud, logged in, where the commands are executed; nothing to print them.
Time      that of the experiment.
Command   python experiments/launch/tpu.py create --name NAME --zone ZONE --out gs://BUCKET/init
            --accelerator-type v4-32 --hosts 4 --spot --dry-run
          the steps: create, status, setup, run, logs, merge, delete; without --dry-run they are
          executed. Words after -- are for the experiment.
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated

import tyro
from rich.console import Console

from jaxntk.launch.commands import cut, execute, show
from jaxntk.launch.tpu import Step, TPUJob, commands
from jaxntk.runs.script import exit_code, read_options


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run an experiment on a Cloud TPU."""

    step: tyro.conf.Positional[Step]
    """What is to be done."""
    job: Annotated[TPUJob, tyro.conf.arg(name="")]
    """The machines and the experiment."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the commands only."""


def main() -> None:
    """Makes the commands of a step, prints them and, unless asked not to, executes them."""
    own, flags = cut(sys.argv[1:])
    options = read_options(Options, __doc__, own)
    wanted = commands(replace(options.job, flags=flags), options.step)
    if options.dry_run:
        show(wanted, Console())
        return
    sys.exit(execute(wanted, Console()))


if __name__ == "__main__":
    sys.exit(exit_code(main))
