"""Encoding: the three ways to write a cell agree over the whole space, and bad ones are refused."""

import numpy as np
import pytest

from jaxntk.data.tables import load_nasbench201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

CELLS = space.enumerate_space()


def test_one_cell_against_a_string_read_by_eye() -> None:
    # 1<-0 pool; 2<-0 1x1, 2<-1 skip; 3<-0 1x1, 3<-1 skip, 3<-2 3x3
    string = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|nor_conv_3x3~2|"
    )
    assert space.encode(string).tolist() == [4, 2, 1, 2, 1, 3]
    assert space.decode([4, 2, 1, 2, 1, 3]) == string


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (space.decode, space.encode),
        (space.format_ops, space.parse_ops),
        (space.index_of, space.from_index),
    ],
)
def test_round_trip_over_the_whole_space(write, read) -> None:
    written = [write(cell) for cell in CELLS]
    assert len(set(written)) == 15625
    back = np.stack([read(text) for text in written])
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, CELLS)


def test_enumeration_is_in_index_order_and_complete() -> None:
    assert CELLS.shape == (15625, 6)
    assert len(np.unique(CELLS, axis=0)) == 15625
    np.testing.assert_array_equal(space.indices_of(CELLS), np.arange(15625))
    assert space.index_of([4, 2, 1, 2, 1, 1]) == int("421211", base=5)


def test_table_names_every_cell_the_same_way(data_dir) -> None:
    # Loading compares the six digits of each row with its official string.
    table = load_nasbench201(data_dir)
    assert len(table.ops) == 15625


EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("arch_str", "words"),
    [
        (
            EMPTY.replace("|none~2|", "|skip_conect~2|"),
            ["skip_conect", "did you mean 'skip_connec"],
        ),
        (EMPTY.replace("none~2", "zzz~2"), ["unknown operation 'zzz'", "avg_pool_3x3"]),
        (EMPTY.replace("none~2", "~2"), ["unknown operation ''"]),
        ("", ["write a cell like |"]),
        ("421211", ["'421211'", "write a cell like |"]),
        (EMPTY[:-1], ["write a cell like |"]),
        (EMPTY + "\n", ["write a cell like |"]),
        (EMPTY + "+|none~0|", ["write a cell like |"]),
        (EMPTY.replace("none~1|none~2", "none~2|none~1"), ["write a cell like |"]),
        (EMPTY.replace("none~2", "none~3"), ["write a cell like |"]),
        (EMPTY.replace("|none~2|", "|"), ["write a cell like |"]),
    ],
)
def test_bad_strings_are_refused(arch_str, words) -> None:
    with pytest.raises(InputError) as error:
        space.encode(arch_str)
    assert error.value.argument == "arch_str"
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("ops", ["", "42121", "4212111", "421215", "42121a", "42121٣", "421211\n"])
def test_bad_digits_are_refused(ops) -> None:
    with pytest.raises(InputError, match=r"^ops: got .*; write 6 digits 0..4"):
        space.parse_ops(ops)


@pytest.mark.parametrize("use", [space.decode, space.format_ops, space.index_of, space.check_arch])
@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ([0, 0, 0, 0, 0], r"shape \(5,\); give 6 operations"),
        (np.zeros((1, 6), np.int32), r"shape \(1, 6\); give 6 operations"),
        ([0, 0, 0, 0, 0, 5], "operation 5; operations are 0 none, 1 skip_connect"),
        ([0, -1, 0, 0, 0, 0], "operation -1; operations are"),
        (np.zeros(6, np.float32), "dtype float32; operations are integers"),
        (np.zeros(6, bool), "dtype bool; operations are integers"),
    ],
)
def test_bad_cells_are_refused(use, arch, words) -> None:
    with pytest.raises(InputError, match=rf"^arch: got .*{words}"):
        use(arch)


@pytest.mark.parametrize(
    ("archs", "words"),
    [
        ([0, 0, 0, 0, 0, 0], r"shape \(6,\); give one row of 6"),
        (np.zeros((3, 5), np.int32), r"shape \(3, 5\); give one row of 6"),
        (np.full((3, 6), 7), "operation 7; operations are"),
    ],
)
def test_bad_populations_are_refused(archs, words) -> None:
    with pytest.raises(InputError, match=rf"^archs: got .*{words}"):
        space.indices_of(archs)


@pytest.mark.parametrize("index", [-1, 15625])
def test_numbers_outside_the_space_are_refused(index) -> None:
    with pytest.raises(InputError, match=rf"got {index}; cells are numbered 0..15624"):
        space.from_index(index)
