"""Commands for other machines: what is printed, and what a shell does with them."""

import os
import re
import shlex
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from jaxntk.errors import InputError
from jaxntk.launch import gpus, slurm, tpu
from jaxntk.launch.commands import Command, cut
from jaxntk.launch.paths import Folder
from tests.tiny_runs import REPOSITORY

TPU = tpu.TPUJob(
    name="kernels",
    zone="us-central2-b",
    out="gs://mine/runs/init",
    flags=("--archs", "421211 000000"),
    hosts=4,
)
WHERE = "--name n --zone z"
SLURM = slurm.SlurmJob(experiment="experiments/a b.py", out="runs/init", shards=3)
GPUS = gpus.GPUJob(experiment="experiments/x.py", out="runs/x", gpus=(0, 2))


def script_of(command):
    (found,) = (word for word in command.words if word.startswith("--command="))
    return found.removeprefix("--command=")


def program(folder, name, body):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.mark.parametrize("step", tpu.STEPS)
def test_every_step_is_for_the_machines_named(step):
    for command in tpu.commands(replace(TPU, project="org:mine", spot=True), step):
        assert shlex.split(str(command)) == list(command.words)
        if command.words[0] == "gcloud":
            assert "--zone=us-central2-b" in command.words
            assert "--project=org:mine" in command.words
            assert any("kernels" in word for word in command.words)
    if step == "create":
        assert "--spot" in command.words


@pytest.mark.parametrize("step", ["setup", "run", "merge"])
def test_scripts_are_shell(step):
    for command in tpu.commands(TPU, step):
        if "ssh" in command.words:
            checked = subprocess.run(["bash", "-n", "-c", script_of(command)], check=False)
            assert checked.returncode == 0, script_of(command)


@pytest.fixture
def host(tmp_path):
    """A machine with programs that write down how they were called."""
    home = tmp_path / "home"
    log = home / "calls"
    program(home / "bin", "gcsfuse", f'echo "gcsfuse $@" >> {log}')
    program(home / "bin", "mountpoint", "exit 1")
    program(home / "bin", "curl", "echo -n 2")
    program(
        home / "tpu" / "bin",
        "jaxntk",
        f'for word in "$@"; do echo "[$word]" >> {log}; done; '
        f"env | grep '^TPU_\\|^JAXNTK' >> {log}; echo end >> {log}",
    )
    (home / "jaxntk").mkdir()
    env = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}

    def run(script):
        done = subprocess.run(["bash", "-c", script], cwd=home, env=env, check=False)
        assert done.returncode == 0
        # The job was started in the background.
        waiting = f"while ! grep -q end {log}; do sleep 0.05; done"
        subprocess.run(["bash", "-c", waiting], timeout=60, check=True)
        return log.read_text()

    return home, run


def test_a_host_runs_its_shard_into_the_bucket(host):
    home, run = host
    job = replace(TPU, data="gs://theirs/data")
    calls = run(script_of(tpu.commands(job, "run")[0]))
    assert f"gcsfuse --implicit-dirs mine {home}/buckets/mine\n" in calls
    assert f"gcsfuse --implicit-dirs theirs {home}/buckets/theirs\n" in calls
    assert f"[--out]\n[{home}/buckets/mine/runs/init]\n[--shard]\n[3/4]\n" in calls
    assert "[--archs]\n[421211 000000]\n" in calls
    assert f"JAXNTK_DATA={home}/buckets/theirs/data\n" in calls
    assert "TPU_CHIPS_PER_HOST_BOUNDS=2,2,1\n" in calls


def test_one_host_makes_no_shards(host):
    _, run = host
    calls = run(script_of(tpu.commands(replace(TPU, hosts=1, out="runs/init"), "run")[0]))
    assert "--shard" not in calls
    assert "gcsfuse" not in calls
    assert "TPU_" not in calls
    assert "[runs/init]" in calls


def test_shards_are_merged_where_they_lie(host):
    home, run = host
    calls = run(script_of(tpu.commands(TPU, "merge")[0]))
    assert f"[merge]\n[{home}/buckets/mine/runs/init]\n" in calls


def test_a_second_start_does_not_disturb_the_first(host):
    home, _ = host
    lock = subprocess.Popen(["flock", str(home / "jaxntk.lock"), "sleep", "5"])
    try:
        script = script_of(tpu.commands(replace(TPU, hosts=1, out="runs/init"), "run")[0])
        wanted = re.search(r"flock .*? >>", script)
        assert wanted is not None
        direct = f"cd jaxntk; {wanted[0].removesuffix('>>')}; echo $? > ../code"
        env = {"HOME": str(home), "PATH": os.environ["PATH"]}
        subprocess.run(["bash", "-c", direct], cwd=home, env=env, check=True)
        assert (home / "code").read_text() == "1\n"
        assert not (home / "calls").exists()
    finally:
        lock.kill()
        lock.wait()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "name: got"),
        ({"zone": "us; rm"}, "zone: got"),
        ({"hosts": 0}, "hosts: got 0"),
        ({"chips": 3}, "chips: got '3'"),
        ({"out": "runs/init"}, "out: got runs/init for 4 hosts; hosts share no disk"),
        ({"out": "gs://mine"}, "out: got gs://mine"),
        ({"out": "gs://mine/../other"}, "out: got"),
        ({"out": "s3://mine/x"}, "out: got s3://mine/x"),
        ({"project": "my project"}, "project: got"),
    ],
)
def test_bad_tpu_jobs_are_refused(changes, words):
    with pytest.raises(InputError, match=re.escape(words)):
        tpu.commands(replace(TPU, **changes), "run")


def test_one_run_has_nothing_to_merge():
    with pytest.raises(InputError, match="merge"):
        tpu.commands(replace(TPU, hosts=1), "merge")


def test_folders_are_seen_where_buckets_are_mounted():
    folder = Folder.parse("gs://mine/runs//init/")
    assert folder == Folder("mine", "$HOME/buckets/mine/runs/init")
    assert Folder.parse("/tmp/x").mount == ""


def test_an_array_runs_every_shard_and_then_merges(tmp_path):
    array, merge = slurm.array_command(SLURM), slurm.merge_command(SLURM, "77")
    assert "--array=1-3" in array.words
    assert "--requeue" in array.words
    assert "--dependency=afterok:77" in merge.words
    (wrapped,) = (word for word in array.words if word.startswith("--wrap="))
    program(tmp_path, "jaxntk", f'for word in "$@"; do echo "[$word]" >> {tmp_path}/calls; done')
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "2"}
    subprocess.run(["sh", "-c", wrapped.removeprefix("--wrap=")], env=env, check=True)
    calls = (tmp_path / "calls").read_text().split("\n")[:-1]
    assert calls == [
        "[run]",
        "[experiments/a b.py]",
        "[--out]",
        "[runs/init]",
        "[--shard]",
        "[2/3]",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shards": 0}, "shards: got 0"),
        ({"gpus": -1}, "gpus: got -1"),
        ({"out": "gs://mine/x"}, "out: got gs://mine/x"),
        ({"name": "a b"}, "name: got"),
    ],
)
def test_bad_slurm_jobs_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        slurm.array_command(replace(SLURM, **changes))


def test_each_gpu_has_a_shard():
    found, merge = gpus.commands(GPUS)
    assert [env["CUDA_VISIBLE_DEVICES"] for _, env in found] == ["0", "2"]
    assert [command.words[-1] for command, _ in found] == ["1/2", "2/2"]
    assert merge is not None
    assert merge.words[1:] == ("merge", "runs/x")
    one, nothing = gpus.commands(replace(GPUS, gpus=(3,)))
    assert "--shard" not in one[0][0].words
    assert nothing is None
    with pytest.raises(InputError, match="gpus: got"):
        gpus.commands(replace(GPUS, gpus=(1, 1)))


def test_searches_share_the_gpus():
    found, merge = gpus.commands(replace(GPUS, together=True, port=1234))
    assert merge is None
    for at, (command, env) in enumerate(found):
        assert command.words[:2] == (sys.executable, "experiments/x.py")
        assert command.words[-2:] == ("--processes", f"localhost:1234/{at + 1}/2")
        assert env["CUDA_VISIBLE_DEVICES"] == str((0, 2)[at])
    ((one, _),), _ = gpus.commands(replace(GPUS, together=True, gpus=(3,)))
    assert one.words == (sys.executable, "experiments/x.py", "--out", "runs/x")


def test_searches_are_one_job_of_a_cluster(tmp_path):
    job = replace(SLURM, together=True, flags=("evolution-lga3",), activate="true")
    command = slurm.together_command(job)
    assert {"--ntasks=3", "--gpus-per-task=1", "--gpu-bind=none"} <= set(command.words)
    assert not any(word.startswith("--array") for word in command.words)
    (wrapped,) = (word for word in command.words if word.startswith("--wrap="))
    program(tmp_path, "srun", f'for word in "$@"; do echo "[$word]" >> {tmp_path}/calls; done')
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", wrapped.removeprefix("--wrap=")], env=env, check=True)
    calls = (tmp_path / "calls").read_text().split("\n")[:-1]
    words = ["python", "experiments/a b.py", "evolution-lga3", "--out", "runs/init"]
    assert calls == [f"[{word}]" for word in (*words, "--processes", "auto")]


def test_hosts_of_a_slice_search_together(host):
    home, run = host
    (home / "tpu" / "bin" / "jaxntk").rename(home / "tpu" / "bin" / "python")
    job = replace(TPU, together=True, experiment="experiments/search_cells.py", flags=("a b",))
    calls = run(script_of(tpu.commands(job, "run")[0]))
    folder = f"{home}/buckets/mine/runs/init"
    words = ("experiments/search_cells.py", "a b", "--out", folder, "--processes", "auto")
    assert "".join(f"[{word}]\n" for word in words) in calls
    # Each host by itself would search alone.
    assert "TPU_" not in calls
    with pytest.raises(InputError, match="no shards"):
        tpu.commands(job, "merge")


def test_words_after_the_dashes_are_for_the_experiment():
    assert cut(["run", "--", "--n", "--", "x"]) == (["run"], ("--n", "--", "x"))
    assert str(Command(("a b", "$HOME"), "")) == "'a b' '$HOME'"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            "tpu.py create --name n --zone z --out gs://b/x --dry-run",
            0,
            "queued-resources create n",
        ),
        (
            "tpu.py run --name n --zone z --out gs://b/x --dry-run -- --num-archs 5",
            0,
            "--num-archs 5",
        ),
        ("tpu.py run --name n --zone z --out gs://b --dry-run", 2, "error: out: got gs://b"),
        ("slurm.py --experiment e.py --out o --shards 2 --dry-run", 0, "afterok:JOBID"),
        ("slurm.py --experiment e.py --out o --shards 0 --dry-run", 2, "error: shards: got 0"),
        ("gpus.py --experiment e.py --out o --gpus 0 1 --dry-run", 0, "--shard 2/2"),
        ("gpus.py --experiment e.py --out o --gpus 0 1 --together --dry-run", 0, "29500/2/2"),
        ("slurm.py --experiment e.py --out o --together --dry-run -- p", 0, "--processes auto"),
    ],
)
def test_scripts_print_what_they_would_do(arguments, code, words):
    script, *rest = arguments.split()
    path = REPOSITORY / "experiments" / "launch" / script
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, str(path), *rest], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
