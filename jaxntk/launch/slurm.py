"""Experiments on a cluster with SLURM: an array of shards and their merge, or one job."""

import shlex
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxntk.errors import InputError
from jaxntk.launch.commands import Command, check_name


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """Run an experiment as an array of SLURM jobs, a shard each, and merge their results."""

    experiment: str
    """File of the experiment, as jaxntk run takes it; with --together that of a search."""
    out: str
    """Folder of the run, on a disk that all nodes share."""
    shards: int = 8
    """Jobs of the array; with --together tasks of one job."""
    together: bool = False
    """Searches: start the file itself, as tasks of one job that share the scoring; no shards."""
    flags: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """More words for jaxntk run, after a --."""
    gpus: int = 1
    """Of each job, or task; 0 for none."""
    cpus: int = 4
    """Of each job, or task."""
    memory: str = "32G"
    """Of each job; with --together of each node."""
    time: str = "04:00:00"
    """Limit of each job; one that reaches it goes on when the same command is given again."""
    partition: str | None = None
    """Of the cluster; by default its own."""
    account: str | None = None
    """That is charged; by default your own."""
    name: str = "jaxntk"
    """Of the jobs."""
    activate: str = ""
    """A line of shell before the experiment, such as 'source .venv/bin/activate'."""


JOB_ID = "JOBID"
"""Stands in the commands for the number that SLURM gives the array."""


def validate_slurm(job: SlurmJob) -> None:
    """Checks a job before any command is made.

    Args:
        job: the job.

    Raises:
        InputError: the first field that is wrong.
    """
    check_name("name", job.name)
    for field, least in {"shards": 1, "gpus": 0, "cpus": 1}.items():
        if getattr(job, field) < least:
            raise InputError(field, getattr(job, field), f"give at least {least}")
    if not job.out or "://" in job.out:
        raise InputError("out", job.out, "give a folder on a disk that all nodes share")


def array_command(job: SlurmJob) -> Command:
    """Makes the command that queues the shards; SLURM prints the number of the array.

    Args:
        job: the job.

    Returns:
        The command.

    Raises:
        InputError: a job that is wrong.
    """
    validate_slurm(job)
    run = shlex.join(("jaxntk", "run", job.experiment, *job.flags, "--out", job.out))
    script = f"{run} --shard $SLURM_ARRAY_TASK_ID/{job.shards}"
    resources = [
        f"--array=1-{job.shards}",
        f"--cpus-per-task={job.cpus}",
        f"--mem={job.memory}",
        f"--time={job.time}",
        # A job that is taken off its node starts anew and goes on.
        "--requeue",
        *([f"--gpus={job.gpus}"] if job.gpus else []),
    ]
    return Command((*_sbatch(job, "", resources), f"--wrap={_script(job, script)}"), "the shards")


def together_command(job: SlurmJob) -> Command:
    """Makes the command that queues one job, whose tasks share the scoring of a search.

    Args:
        job: the job.

    Returns:
        The command.

    Raises:
        InputError: a job that is wrong.
    """
    validate_slurm(job)
    words = ("srun", "python", job.experiment, *job.flags, "--out", job.out, "--processes", "auto")
    resources = [
        f"--ntasks={job.shards}",
        f"--cpus-per-task={job.cpus}",
        f"--mem={job.memory}",
        f"--time={job.time}",
        "--requeue",
        # JAX gives each task of a node the GPU of its number there, so that all must be seen.
        *([f"--gpus-per-task={job.gpus}", "--gpu-bind=none"] if job.gpus else []),
    ]
    script = _script(job, shlex.join(words))
    return Command((*_sbatch(job, "", resources), f"--wrap={script}"), "all tasks, as one job")


def merge_command(job: SlurmJob, job_id: str = JOB_ID) -> Command:
    """Makes the command that queues the merge, which waits for all shards.

    Args:
        job: the job.
        job_id: number of the array.

    Returns:
        The command.

    Raises:
        InputError: a job that is wrong.
    """
    validate_slurm(job)
    script = shlex.join(("jaxntk", "merge", job.out))
    resources = [f"--dependency=afterok:{job_id}", "--mem=8G", "--time=00:30:00"]
    return Command(
        (*_sbatch(job, "-merge", resources), f"--wrap={_script(job, script)}"),
        "one run of the shards, when all have ended well",
    )


def _sbatch(job: SlurmJob, suffix: str, resources: list[str]) -> tuple[str, ...]:
    named = {"partition": job.partition, "account": job.account}
    where = [f"--{name}={value}" for name, value in named.items() if value is not None]
    return ("sbatch", "--parsable", f"--job-name={job.name}{suffix}", *resources, *where)


def _script(job: SlurmJob, line: str) -> str:
    return f"{job.activate}; {line}" if job.activate else line
