"""Experiments on a Cloud TPU VM or on all hosts of a slice: the commands of ``gcloud``.

Every host runs one shard (``--shard I/N``, see docs/running.md) and writes into its own folder of
one bucket, which is mounted as a folder. A job that was preempted goes on when the same commands
are given again: rows that are in the bucket are not computed again.
"""

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from jaxntk.errors import InputError, check_choice
from jaxntk.launch.commands import Command, check_name
from jaxntk.launch.paths import Folder

Step = Literal["create", "status", "setup", "run", "logs", "merge", "delete"]
STEPS: tuple[Step, ...] = ("create", "status", "setup", "run", "logs", "merge", "delete")
HOST = (
    "$(curl -sf -H 'Metadata-Flavor: Google' http://metadata.google.internal/computeMetadata/v1"
    "/instance/attributes/agent-worker-number)"
)
"""Number of a host in its slice, from the machine's metadata."""
ARCHIVE = "jaxntk.tar.gz"
GCSFUSE = (
    "command -v gcsfuse > /dev/null || { "
    'export GCSFUSE_REPO="gcsfuse-$(lsb_release -c -s)"; '
    "curl -s https://packages.cloud.google.com/apt/doc/apt-key.gpg"
    " | sudo tee /usr/share/keyrings/cloud.google.asc > /dev/null; "
    'echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc]'
    ' https://packages.cloud.google.com/apt $GCSFUSE_REPO main"'
    " | sudo tee /etc/apt/sources.list.d/gcsfuse.list; "
    "sudo apt-get update -q; sudo apt-get install -q -y gcsfuse; }"
)


@dataclass(frozen=True, kw_only=True)
class TPUJob:
    """Run an experiment on a Cloud TPU, a shard on each of its hosts."""

    name: str
    """Of the queued resource and of its node."""
    zone: str
    """Such as us-central2-b."""
    out: str
    """Folder of the run, gs://BUCKET/FOLDER; a slice of one host may write to its own disk."""
    experiment: str = "experiments/init_metrics_nasbench201.py"
    """File of the experiment, as jaxntk run takes it; with --together that of a search."""
    flags: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """More words for jaxntk run, after a --."""
    together: bool = False
    """Searches: start the file itself on all hosts, which share the scoring; no shards."""
    hosts: int = 1
    """Machines of the slice: 1 for up to 4 or 8 chips, depending on the type."""
    chips: int = 4
    """TPU chips of each host: 1, 4 or 8."""
    accelerator_type: str = "v4-8"
    """Such as v4-8, v5litepod-16 or v6e-8."""
    runtime_version: str = "tpu-ubuntu2204-base"
    """The machines' software, which Google names for each type."""
    project: str | None = None
    """Google Cloud project; by default that of gcloud's configuration."""
    spot: bool = False
    """Cheaper machines, which may be taken away at any moment."""
    data: str | None = None
    """Folder of data files on the hosts, or gs://BUCKET/FOLDER."""


def validate_tpu(job: TPUJob) -> None:
    """Checks a job before any command is made.

    Args:
        job: the job.

    Raises:
        InputError: the first field that is wrong.
    """
    for field in ("name", "zone", "accelerator_type", "runtime_version"):
        check_name(field, getattr(job, field))
    if job.project is not None:
        # A project of an organisation is ORGANISATION:NAME.
        check_name("project", job.project.replace(":", "-"))
    if job.hosts < 1:
        raise InputError("hosts", job.hosts, "give at least 1")
    check_choice("chips", str(job.chips), ("1", "4", "8"))
    folder = Folder.parse(job.out)
    if job.hosts > 1 and folder.bucket is None:
        cure = "hosts share no disk: give gs://BUCKET/FOLDER"
        raise InputError("out", f"{job.out} for {job.hosts} hosts", cure)
    if job.data is not None:
        Folder.parse(job.data)


def commands(job: TPUJob, step: Step) -> list[Command]:
    """Makes the commands of one step.

    Args:
        job: the job.
        step: ``create`` the machines (they come when there are some), ask for their ``status``,
            ``setup`` the software, ``run`` or go on, follow the ``logs``, ``merge`` the shards,
            ``delete`` the machines.

    Returns:
        The commands, to be given on a machine with ``gcloud``.

    Raises:
        InputError: a job that is wrong, or an unknown step.
    """
    validate_tpu(job)
    check_choice("step", step, STEPS)
    return _STEPS[step](job)


def _where(job: TPUJob) -> tuple[str, ...]:
    project = () if job.project is None else (f"--project={job.project}",)
    return (f"--zone={job.zone}", *project)


def _queued(job: TPUJob, verb: str, *more: str) -> tuple[str, ...]:
    return ("gcloud", "compute", "tpus", "queued-resources", verb, job.name, *more, *_where(job))


def _create(job: TPUJob) -> list[Command]:
    more = [
        f"--node-id={job.name}",
        f"--accelerator-type={job.accelerator_type}",
        f"--runtime-version={job.runtime_version}",
        *(["--spot"] if job.spot else []),
    ]
    return [Command(_queued(job, "create", *more), "queue for the machines")]


def _status(job: TPUJob) -> list[Command]:
    return [
        Command(_queued(job, "describe", "--format=value(state.state)"), "ACTIVE: they are there")
    ]


def _delete(job: TPUJob) -> list[Command]:
    words = _queued(job, "delete", "--force", "--quiet")
    return [Command(words, "give the machines back; what is in the bucket stays")]


def _ssh(job: TPUJob, script: str, why: str, worker: str = "all") -> Command:
    head = ("gcloud", "compute", "tpus", "tpu-vm", "ssh", job.name, f"--worker={worker}")
    return Command((*head, *_where(job), f"--command={script}"), why)


def _setup(job: TPUJob) -> list[Command]:
    copy = ("gcloud", "compute", "tpus", "tpu-vm", "scp", ARCHIVE, f"{job.name}:", "--worker=all")
    install = "; ".join((
        "set -e",
        "rm -rf jaxntk",
        "mkdir jaxntk",
        f"tar xzf {ARCHIVE} -C jaxntk",
        "python3 -m pip install -q --user uv",
        "test -d tpu || ~/.local/bin/uv venv -q --python 3.12 tpu",
        "~/.local/bin/uv pip install -q --python tpu/bin/python './jaxntk' 'jax[tpu]'",
        *([GCSFUSE] if _buckets(job) else []),
    ))
    return [
        Command(("git", "archive", "--format=tar.gz", f"--output={ARCHIVE}", "HEAD"), "pack"),
        Command((*copy, *_where(job)), "copy to all hosts"),
        _ssh(job, install, "install on all hosts"),
    ]


def _buckets(job: TPUJob) -> list[Folder]:
    folders = [Folder.parse(text) for text in (job.out, job.data) if text is not None]
    return [folder for folder in folders if folder.bucket is not None]


def _run(job: TPUJob) -> list[Command]:
    """Each host of shards sees its own chips only, or it would wait for the others."""
    bounds = {1: "1,1,1", 4: "2,2,1", 8: "2,4,1"}[job.chips]
    lines = ["set -e", *dict.fromkeys(folder.mount for folder in _buckets(job))]
    if job.data is not None:
        lines.append(f'export JAXNTK_DATA="{Folder.parse(job.data).path}"')
    part = ""
    if job.hosts > 1 and job.together:
        # All hosts see the whole slice, by which they find each other.
        part = " --processes auto"
    elif job.hosts > 1:
        lines.append(f"i={HOST}")
        lines.append(f'test "$i" -ge 0 -a "$i" -lt {job.hosts}')
        lines.append(f"export TPU_SKIP_MDS_QUERY=1 TPU_CHIPS_PER_HOST_BOUNDS={bounds}")
        lines.append("export TPU_HOST_BOUNDS=1,1,1 TPU_WORKER_HOSTNAMES=localhost TPU_WORKER_ID=0")
        part = f" --shard $((i + 1))/{job.hosts}"
    lines.append("cd jaxntk")
    start = ("../tpu/bin/python",) if job.together else ("../tpu/bin/jaxntk", "run")
    words = shlex.join((*start, job.experiment, *job.flags))
    # The job outlives the connection, and runs once however often it is started.
    line = f'{words} --out "{Folder.parse(job.out).path}"{part}'
    lines.append(f"(nohup flock -n ../jaxntk.lock {line} >> ../jaxntk.log 2>&1 < /dev/null &)")
    return [_ssh(job, "; ".join(lines), "start, or go on, on all hosts")]


def _logs(job: TPUJob) -> list[Command]:
    return [_ssh(job, "tail -n 5 jaxntk.log", "the last lines of every host")]


def _merge(job: TPUJob) -> list[Command]:
    if job.hosts == 1 or job.together:
        raise InputError("step", "merge", "this job makes no shards: the run is whole")
    folder = Folder.parse(job.out)
    script = f'set -e; {folder.mount}; cd jaxntk; ../tpu/bin/jaxntk merge "{folder.path}"'
    return [_ssh(job, script, "make one run of the shards", worker="0")]


_STEPS = {
    "create": _create,
    "status": _status,
    "setup": _setup,
    "run": _run,
    "logs": _logs,
    "merge": _merge,
    "delete": _delete,
}
