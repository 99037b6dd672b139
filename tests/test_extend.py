"""docs/extend.md, executed: a space of one's own goes through every command without a line here."""

import json
import re
import runpy
import shlex
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.cli import main
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks import registry
from jaxntk.spaces.registry import SPACES
from tests.conftest import REPOSITORY
from tests.networks import tiny
from tests.tiny_runs import rows

PAGE = (REPOSITORY / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = {
    re.match(r'"""(\S+):', code)[1]: code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S)
}
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the page does, done in an empty folder."""
    out = tmp_path_factory.mktemp("extend")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        patch.syspath_prepend(str(out))
        for name, code in FILES.items():
            (out / name).write_text(code, encoding="utf-8")
        (out / "accuracies.csv").write_text("arch,accuracy\n", encoding="utf-8")
        yield out
        SPACES.pop("toy", None)
        registry.FAMILIES.pop("toy", None)
        sys.modules.pop("toy", None)


@pytest.fixture(scope="module")
def done(folder):
    for command in COMMANDS:
        if "correlate" in command:
            archs = [row["arch"] for row in rows(folder / "runs/toy/scores.jsonl")]
            lines = [f"{arch},{at}" for at, arch in enumerate(archs)]
            (folder / "accuracies.csv").write_text("\n".join(["arch,accuracy", *lines]))
        assert main(command) == 0, command
    runpy.run_path(str(folder / "search.py"))
    return folder


def test_the_page_has_what_is_tested():
    assert list(FILES) == ["toy.py", "ranked.py", "search.py"]
    used = {command[2] for command in COMMANDS}
    assert used == {"score", "run", "correlate", "merge", "train"}


def test_shards_make_the_run_in_one_piece(done):
    def scores(name):
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in rows(done / "runs" / name / "scores.jsonl")
        ]

    assert scores("toy") == scores("parts")
    for name in ("toy", "parts"):
        assert "toy" in (done / "runs" / name / "report.html").read_text()


def test_it_is_searched_and_trained(done):
    summary = json.loads((done / "runs/search/summary.json").read_text())
    assert len(summary["searches"]) == 2
    found = rows(done / "runs/search/scores.jsonl")
    assert {row["epochs"] for row in found} == {0, 1}
    assert all(row["finite"] for row in found)
    trained = json.loads((done / "runs/trained/summary.json").read_text())
    assert trained["last"]["test_accuracy"] > 80


def test_its_kernel_is_that_of_its_jacobian(done):
    with jax.enable_x64(True):
        model = registry.FAMILIES["toy"].build(3)
        x = tiny.images((4, 6, 6, 1)).astype(np.float32)
        kernels = ModelKernels(model, KernelSettings(parameters="all", dtype="float64"), x)
        for arch in np.ndindex(3, 3, 2):
            drawn = model.draw(0, (6, 6, 1), jnp.dtype("float64"))

            def outputs(params, arch=arch):
                given = jnp.asarray(x, jnp.float64), jnp.asarray(arch, jnp.int32)
                return model.logits({"params": params}, *given).sum(axis=1)

            leaves = jax.tree.leaves(jax.jacrev(outputs)(drawn["params"]))
            jac = np.concatenate([np.reshape(leaf, (len(x), -1)) for leaf in leaves], axis=1)
            tiny.assert_close(kernels(np.array(arch, np.int32)), jac @ jac.T, 1e-10)
        assert kernels.compilations == 1


def test_a_space_that_was_not_added_is_named_with_the_cure(done, capsys):
    SPACES.pop("toy"), registry.FAMILIES.pop("toy")
    assert main(["report", "runs/toy"]) == 2
    assert "jaxntk --with FILE.py report DIR" in capsys.readouterr().err
    assert main(["correlate", "runs/toy", "--truth", "own"]) == 2
    assert "or add your own: jaxntk --with FILE.py" in capsys.readouterr().err
    assert main(["--with", "toy.py", "report", "runs/toy"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--with"], "--with: got nothing; give a Python file"),
        (["--with", "no.py", "score"], "--with: got no.py, which does not exist"),
        (["--with", "taken.py", "score"], "choose another name: there is such a space"),
    ],
)
def test_what_cannot_be_added_is_refused(folder, capsys, arguments, words):
    taken = FILES["toy.py"].replace('name="toy"', 'name="pit"')
    (folder / "taken.py").write_text(taken, encoding="utf-8")
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
