"""The split of a population: every cell in exactly one shard, and how shards are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.runs.shards import Shard, shard_folders
from jaxntk.spaces import nasbench201


@given(num=st.integers(1, 200), data=st.data())
def test_every_cell_is_in_exactly_one_shard(num, data):
    count = data.draw(st.integers(1, num))
    cells = nasbench201.from_indices(np.arange(num))
    parts = [Shard(index, count).part(cells) for index in range(1, count + 1)]
    sizes = [len(part) for part in parts]
    assert sum(sizes) == num
    assert max(sizes) - min(sizes) <= 1
    for position, cell in enumerate(cells):
        part = parts[position % count]
        np.testing.assert_array_equal(part[position // count], cell)


def test_more_shards_than_cells_are_refused():
    cells = nasbench201.from_indices(np.arange(3))
    assert len(Shard(3, 3).part(cells)) == 1
    with pytest.raises(InputError, match="shard: got 4/4 of a population of 3 cells; give at most"):
        Shard(4, 4).part(cells)


@pytest.mark.parametrize("text", ["1/1", "2/8", "8/8", "12/100"])
def test_written_and_read_again(text):
    assert str(Shard.parse(text)) == text


def test_leading_zeros_do_not_matter():
    assert Shard.parse("02/08") == Shard(2, 8)


@pytest.mark.parametrize(
    "text",
    [
        "3/2",
        "0/4",
        "x",
        "",
        "2",
        "/4",
        "2/",
        "-1/4",
        "1/-4",
        "1/0",
        "0/0",
        "1.0/4",
        "1/4/2",
        " 1/4",
        "1/4\n",
        "²/4",
        "1 / 4",
    ],
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match=r"^shard: got .*; give I/N with 1 <= I <= N"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 9, 10, 99, 100, 1000])
def test_folders_sort_as_their_numbers(count, tmp_path):
    names = [Shard(index, count).folder for index in range(1, count + 1)]
    assert names == sorted(names)
    assert len(set(names)) == count
    for name in (names[0], names[-1]):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "shard-1-of-2.txt").write_text("")
    assert [path.name for path in shard_folders(tmp_path)] == sorted({names[0], names[-1]})


def test_a_folder_that_does_not_exist_has_no_shards(tmp_path):
    assert shard_folders(tmp_path / "nowhere") == []


@pytest.mark.parametrize("flag", ["--shard 2/8", "--shard=2/8"])
def test_the_command_of_another_shard(flag):
    found = Shard(7, 8).command(f"jaxntk run a.py {flag} --out runs/a")
    assert found == "jaxntk run a.py --shard 7/8 --out runs/a"
