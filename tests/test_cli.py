"""The command line itself: help, flags, files of experiments, and one line an error."""

import dataclasses
import re

import pytest

from jaxntk import __version__
from jaxntk.cli import COMMANDS, main
from jaxntk.studies.config import ExperimentConfig, ScoreConfig
from jaxntk.studies.retrain_config import RetrainConfig
from tests.conftest import REPOSITORY
from tests.tiny_runs import finish, process, refusal, write_experiment

FLAGS = {
    "run": ["out", "shard", *(field.name for field in dataclasses.fields(ExperimentConfig))],
    "merge": ["out"],
    "score": [field.name for field in dataclasses.fields(ScoreConfig)],
    "correlate": ["truth", "table", "json"],
    "report": [],
    "train": ["out", *(field.name for field in dataclasses.fields(RetrainConfig))],
    "verify": [],
    "import-nasbench201": ["source", "out"],
}


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path)


def shown(capsys, *arguments):
    """What a command prints that ends the program well."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code in (0, None)
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_flags(capsys, command, flag):
    out = shown(capsys, command, flag)
    assert f"usage: jaxntk {command}" in out
    for name in FLAGS[command]:
        assert f"--{name.replace('_', '-')} " in out


def test_help_of_a_run_shows_the_values_of_its_experiment(capsys, experiment):
    out = shown(capsys, "run", experiment, "--help")
    assert "(default: 256)" in " ".join(out.split())
    assert "default: digits" in " ".join(out.split())


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"jaxntk {command} " in out


def test_no_command_prints_help_and_fails(capsys):
    assert main([]) == 2
    assert "usage: jaxntk" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxntk {__version__}\n"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--num-arch", "3"], "--num-arch: got an unknown flag; .*did you mean '--num-archs'"),
        (["--num_arch=3"], "--num-arch: got an unknown flag; .*did you mean '--num-archs'"),
        (["--qqqqqqq", "3"], "--qqqqqqq: got an unknown flag; see jaxntk run .* --help$"),
        (["-x"], "-x"),
        (["extra"], "extra"),
        (["--num-archs", "abc"], "--num-archs.*'abc'"),
        (["--num-archs", "2.5"], "--num-archs.*'2.5'"),
        (["--num-archs"], "--num-archs"),
        (["--tile", "abc"], "--tile.*'abc'"),
        (["--learning-rate", "fast"], "--learning-rate.*'fast'"),
        (["--batch-norm", "froze"], "'froze'.*--batch-norm.*'batch', 'frozen', 'running'"),
        (["--dtype", "float16"], "'float16'.*--dtype.*'mixed'"),
        (["--arch-seed", "-1"], "arch_seed: got -1"),
        (["--learning-rate", "nan"], "learning_rate: got nan"),
        (["--initializer", "he_norml"], "did you mean 'he_normal'"),
        (["--metrics", "frobenis"], "did you mean 'frobenius'"),
        (["--truth", "cifar10/tst/200"], "did you mean 'cifar10/test/200'"),
        (["--truth", ""], "truth: got ''"),
        (["--shard", "3/2"], "shard: got '3/2'; give I/N with 1 <= I <= N, such as 2/8$"),
        (["--shard", "0/4"], "shard: got '0/4'; give I/N"),
        (["--shard=x"], "shard: got 'x'; give I/N"),
        (["--shard", "1/5"], "shard: got 1/5 of a population of 4 cells; give at most 4 shards"),
        (["--shards", "1/2"], "did you mean '--shard'"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, tmp_path, experiment, flags, told):
    out = tmp_path / "run"
    line = refusal(capsys, "run", experiment, "--out", out, *flags)
    assert re.search(told, line), line
    assert not out.exists()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "run"])
def test_what_is_required_is_named(capsys, command):
    line = refusal(capsys, command)
    assert re.search(r"error: (--[a-z-]+|PATH): got nothing, and it is required", line), line
    assert line.endswith(f"; see jaxntk {command} --help")
    assert "(required)" not in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("score", "--data: .* required; give images: digits, .* tfds:NAME; see"),
        ("train --arch 421211 --out x", "--data: got nothing, and it is required; give images: "),
        ("score --data digits --batch-norm", "--batch-norm: got no value; see jaxntk score --help"),
    ],
)
def test_a_missing_flag_is_told_with_its_choices(capsys, arguments, told):
    line = refusal(capsys, *arguments.split())
    assert re.search(f"error: {told}", line), line


def test_a_missing_flag_is_told_the_same_where_boxes_are_drawn(capsys):
    code, out, err = finish(process(["score"]))
    assert (code, out) == (2, "")
    assert err == refusal(capsys, "score") + "\n"


def test_a_run_needs_a_folder(capsys, experiment):
    line = refusal(capsys, "run", experiment)
    assert "error: --out: got nothing, and it is required; give folder of the run" in line


def test_a_run_needs_an_experiment(capsys, tmp_path):
    assert "give a file such as" in refusal(capsys, "run", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("command", "told"), [("rum", "did you mean 'run'"), ("qqqq", "commands are run, merge, score")]
)
def test_an_unknown_command(capsys, command, told):
    assert told in refusal(capsys, command)


def test_a_missing_experiment(capsys, tmp_path, experiment):
    line = refusal(capsys, "run", tmp_path / "tinny.py", "--out", tmp_path / "run")
    assert "which does not exist" in line
    assert f"did you mean '{experiment}'" in line
    assert "does not exist" in refusal(capsys, "run", "no/folder.py", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("a = 1", "wrong.py without a config.*the file must set config = ExperimentConfig"),
        ("config = {}", "the file must set config = ExperimentConfig"),
        ("a = 1\nconfig = (", r"wrong\.py:2 \(SyntaxError: .*was never closed"),
        ("config = Experiment()", r"wrong\.py:1 \(NameError: .*'Experiment' is not defined"),
        ("import no_such_module", r"wrong\.py:1 \(ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()", r"wrong\.py:2 \(ZeroDivisionError: division by"),
        ("import json\n\njson.loads('{')", r"wrong\.py:3 \(JSONDecodeError: Expecting"),
        ("raise RuntimeError('two\\nlines')", r"wrong\.py:1 \(RuntimeError: two lines\)"),
        ("{}['digits']", r"wrong\.py:1 \(KeyError: 'digits'\)"),
        ("import sys\nsys.exit('no data')", r"wrong\.py:2 \(SystemExit: no data\)"),
        (
            "from jaxntk.runs.shards import Shard\nShard.parse('x')",
            r"wrong\.py:2 \(InputError: shard: got 'x'; give I/N",
        ),
        (
            "from jaxntk.studies.config import ExperimentConfig\n"
            "fields = {'data': 'digits', 'truth': 'train', 'batch_norm': 'frozen'}\n"
            "config = ExperimentConfig(**fields, num_arch=3)",
            r"wrong\.py:3 .*did you mean 'num_archs'",
        ),
        (
            "from jaxntk.studies.config import ExperimentConfig\n"
            "config = ExperimentConfig(data='digits')",
            r"wrong\.py:2 .*missing ",
        ),
    ],
)
def test_a_wrong_experiment(capsys, tmp_path, code, told):
    file = tmp_path / "wrong.py"
    file.write_text(code)
    line = refusal(capsys, "run", file, "--out", tmp_path / "run")
    assert re.search(told, line), line
    assert not (tmp_path / "run").exists()


def test_an_error_in_what_an_experiment_imports(capsys, tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("x = [\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "wrong.py"
    file.write_text("a = 1\nimport broken_part\n")
    line = refusal(capsys, "run", file, "--out", tmp_path / "run")
    assert re.search(r"wrong\.py:2 \(SyntaxError: .*broken_part\.py, line 1", line), line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("report", "nowhere"), "is no folder"),
        (("correlate", "nowhere", "--truth", "own"), "without config.json"),
        (("merge", "nowhere"), "is no folder"),
        (("verify", "nowhere.npz"), "does not exist"),
        (("import-nasbench201", "--source", "nowhere", "--out", "t.csv.gz"), "is no folder"),
        (("score", "--data", "digit", "--batch-norm", "frozen"), "did you mean 'digits'"),
    ],
)
def test_what_is_not_there(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert told in refusal(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_process_ends_with_the_exit_code_and_no_traceback(tmp_path, experiment):
    code, out, err = finish(process(["run", experiment, "--out", tmp_path / "run", "--chanels", 2]))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "did you mean '--channels'" in err


def test_wrong_types_in_an_experiment_without_the_checks_of_the_tests(tmp_path):
    file = write_experiment(tmp_path)
    file.write_text(file.read_text().replace("channels=2", "channels='2'"))
    code, _, err = finish(process(["run", file, "--out", tmp_path / "run"]))
    assert (code, err) == (2, "jaxntk: error: channels: got '2'; give a whole number, or nothing\n")


def test_an_experiment_with_presets_is_run_by_the_same_command(capsys, tmp_path):
    file = str(REPOSITORY / "experiments" / "search_tables.py")
    assert main(["run", file, "--help"]) == 0
    assert "digits201" in capsys.readouterr().out
    assert main(["run", file, "digits", "--out", str(tmp_path / "run")]) == 2
    assert "preset: got 'digits'" in capsys.readouterr().err
    flags = ["--searches", "2", "--evaluations", "12", "--out", str(tmp_path / "run")]
    assert main(["run", file, "digits201", *flags]) == 0
    assert (tmp_path / "run" / "summary.json").exists()
