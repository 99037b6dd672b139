"""Accuracies by name, and files of one's own, for any space."""

import gzip

import jax
import numpy as np
import pytest

from jaxntk.data import digits201, digits_vit
from jaxntk.data.truths import check_truth, table_look_up
from jaxntk.errors import InputError
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import sample

every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def write(file, lines):
    text = "\n".join(lines) + "\n"
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return str(file)


def quoted(text):
    return f'"{text}"'


@every_space
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_file_of_ones_own_is_a_truth_of_any_space(space, ending, tmp_path):
    archs = sample(space, jax.random.key(0), 12)
    wanted = np.random.default_rng(0).uniform(10, 95, 12)
    lines = [
        f"{at},{quoted(space.describe(arch)['arch'])},{value!r},{value / 2!r}"
        for at, (arch, value) in enumerate(zip(archs, wanted.tolist(), strict=True))
    ]
    file = write(tmp_path / f"mine.{ending}", ["number,arch,accuracy,half", *lines])
    check_truth("truth", file, space)
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(table_look_up(file, space)(archs[order]), wanted[order])
    half = table_look_up(f"{file}:half", space)(archs)
    np.testing.assert_array_equal(half, wanted / 2)


def test_every_written_form_and_every_encoding_is_found(tmp_path):
    space = SPACES["nasbench201"]
    arch = np.array([4, 2, 1, 2, 1, 1], np.int32)
    for text in space.describe(arch).values():
        file = write(tmp_path / "mine.csv", ["arch,accuracy", f"{text},71.5"])
        assert table_look_up(file, space)(arch[None]).tolist() == [71.5]
    space = SPACES["digits-vit"]
    shallow = space.canonical(np.zeros((1, len(space.sizes)), np.int32))[0]
    dormant = shallow.copy()
    dormant[-1] = 1
    text = space.describe(shallow)["arch"]
    file = write(tmp_path / "mine.csv", ["arch,accuracy", f"{quoted(text)},71.5"])
    assert table_look_up(file, space)(dormant[None]).tolist() == [71.5]


def test_known_tables_are_read_by_their_names():
    cells = sample(SPACES["nasbench201"], jax.random.key(0), 5)
    found = table_look_up("digits201/test", SPACES["nasbench201"])(cells)
    np.testing.assert_array_equal(found, digits201.load_digits201().accuracy(cells, "test"))
    archs = sample(SPACES["digits-vit"], jax.random.key(0), 5)
    found = table_look_up("digits_vit/valid", SPACES["digits-vit"])(archs)
    np.testing.assert_array_equal(found, digits_vit.load_digits_vit().accuracy(archs, "valid"))


@pytest.mark.parametrize(
    ("name", "truth", "words"),
    [
        ("nasbench201", "digits_vit/test", "^select: got 'digits_vit/test'"),
        ("digits-vit", "digits201/test", "^select: got 'digits201/test'; choose from digits_vit"),
        (
            "pit",
            "digits_vit/test",
            "^select: got digits_vit/test; give a CSV file, or leave",
        ),
    ],
)
def test_names_of_other_spaces_are_refused(name, truth, words):
    with pytest.raises(InputError, match=words):
        check_truth("select", truth, SPACES[name])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["arch,accuracy"], "which holds no row"),
        (["cell,accuracy", "421211,50"], "0 columns 'arch'; give a CSV file with columns arch and"),
        (["arch,acuracy", "421211,50"], "columns 'accuracy'.*did you mean 'acuracy'"),
        (["arch,accuracy,accuracy", "421211,50,60"], "2 columns 'accuracy'"),
        (["arch,accuracy", "421219,50"], "line 2, arch="),
        (["arch,accuracy", "421211,50", "421211,60"], "line 3, a second row of 421211"),
        (["arch,accuracy", "421211,high"], "accuracy in .*could not convert"),
        (["arch,accuracy", "421211,50", "333333,"], "no accuracy of 1 of 2 such as"),
        (["arch,accuracy", "421211,50", "333333,nan"], "no accuracy of 1 of 2 such as"),
        (["arch,accuracy", "421211,50"], "no accuracy of 1 of 2 such as"),
    ],
)
def test_files_that_are_no_truth_are_refused(lines, words, tmp_path):
    file = write(tmp_path / "mine.csv", lines)
    asked = np.array([[4, 2, 1, 2, 1, 1], [3, 3, 3, 3, 3, 3]], np.int32)
    with pytest.raises(InputError, match=words):
        table_look_up(file, SPACES["nasbench201"])(asked)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"mine\.csv"):
        table_look_up(str(tmp_path / "mine.csv"), SPACES["pit"])
