"""Experiments on one machine with GPUs: a process each, or one for all."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.launch.commands import Command, show


@dataclass(frozen=True, kw_only=True)
class GPUJob:
    """Run an experiment on the GPUs of this machine, a shard on each, and merge the results."""

    experiment: str
    """File of the experiment, as jaxntk run takes it; with --together that of a search."""
    out: str
    """Folder of the run."""
    gpus: tuple[int, ...] = (0,)
    """Numbers of the GPUs."""
    together: bool = False
    """Searches: start the file itself, in processes that share the scoring; no shards."""
    port: int = 29500
    """With --together, where the processes find each other on this machine."""
    flags: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """More words for jaxntk run, after a --."""


def commands(job: GPUJob) -> tuple[list[tuple[Command, Mapping[str, str]]], Command | None]:
    """Makes the commands that run side by side, and the one that follows.

    Args:
        job: the job.

    Returns:
        A command for each GPU with what its environment has more, and the merge; None where there
        are no shards: for a single GPU, and where processes work together.

    Raises:
        InputError: no GPU, or one twice.
    """
    if not job.gpus or min(job.gpus) < 0 or len(set(job.gpus)) < len(job.gpus):
        raise InputError("gpus", list(job.gpus), "give their numbers, none twice")
    program = str(Path(sys.executable).parent / "jaxntk")
    start = (sys.executable,) if job.together else (program, "run")
    run = (*start, job.experiment, *job.flags, "--out", job.out)
    num, found = len(job.gpus), []
    for at, gpu in enumerate(job.gpus):
        part = ("--shard", f"{at + 1}/{num}")
        if job.together:
            part = ("--processes", f"localhost:{job.port}/{at + 1}/{num}")
        words = run if num == 1 else (*run, *part)
        env = {"CUDA_VISIBLE_DEVICES": str(gpu)}
        found.append((Command(words, f"on GPU {gpu}: CUDA_VISIBLE_DEVICES={gpu}"), env))
    if num == 1 or job.together:
        return found, None
    return found, Command((program, "merge", job.out), "then one run of the shards")


def run(job: GPUJob, console: Console) -> int:
    """Runs all shards at once and merges them; the same job again goes on where it stopped.

    Args:
        job: the job.
        console: where commands are shown.

    Returns:
        0, or the exit code of the first shard that failed, or of the merge.

    Raises:
        InputError: the job is wrong.
    """
    found, merge = commands(job)
    show([command for command, _ in found], console)
    running = [subprocess.Popen(command.words, env={**os.environ, **env}) for command, env in found]
    try:
        codes = [process.wait() for process in running]
    except KeyboardInterrupt:
        # Each shard says how to go on, and ends by itself.
        codes = [process.wait() for process in running]
    failed = [code for code in codes if code]
    if failed:
        return failed[0]
    if merge is None:
        return 0
    show([merge], console)
    return subprocess.run(merge.words, check=False).returncode
