"""Runs an experiment on a cluster with SLURM: an array of shards, then their merge.

What      prints the two sbatch commands, or gives them to SLURM.
Paper     none.
Needs     sbatch where the commands are executed; nothing to print them.
Time      that of the experiment.
Command   python experiments/launch/slurm.py --experiment experiments/init_metrics_nasbench201.py
            --out runs/init --shards 16 --activate 'source .venv/bin/activate' --dry-run
          without --dry-run the jobs are queued; the same command again goes on where jobs were
          stopped. Words after -- are for the experiment.
"""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import tyro
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.launch.commands import cut, execute, show
from jaxntk.launch.slurm import SlurmJob, array_command, merge_command, together_command
from jaxntk.runs.script import exit_code, read_options


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run an experiment as an array of SLURM jobs."""

    job: Annotated[SlurmJob, tyro.conf.arg(name="")]
    """The jobs and the experiment."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the commands only."""


def main() -> None:
    """Makes the commands, prints them and, unless asked not to, queues the jobs."""
    own, flags = cut(sys.argv[1:])
    options = read_options(Options, __doc__, own)
    job, console = replace(options.job, flags=flags), Console()
    if job.together:
        if options.dry_run:
            return show([together_command(job)], console)
        sys.exit(execute([together_command(job)], console))
    array = array_command(job)
    if options.dry_run:
        show([array, merge_command(job)], console)
        return
    show([array], console)
    try:
        queued = subprocess.run(array.words, check=False, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        raise InputError("program", "sbatch", "install sbatch, or give --dry-run") from error
    if queued.returncode:
        sys.exit(queued.returncode)
    # sbatch --parsable prints NUMBER or NUMBER;CLUSTER.
    sys.exit(execute([merge_command(job, queued.stdout.strip().split(";")[0])], console))


if __name__ == "__main__":
    sys.exit(exit_code(main))
