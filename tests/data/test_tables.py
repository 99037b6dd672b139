"""The benchmark table: typed queries, incomplete tables, and damaged files."""

import csv
import gzip

import numpy as np
import pytest

from jaxntk.data.tables import TRUTHS, Nasbench201Table, Truth, load_nasbench201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

HEADER = ["arch_id", "arch_str", "ops", "c10_test_200", "c10v_valid_12", "note"]
CELLS = [[0, 0, 0, 0, 0, 0], [4, 2, 1, 2, 1, 1], [3, 3, 3, 3, 3, 3]]
ROWS = [
    ["0", space.decode(CELLS[0]), "000000", "10.0", "9.712", "worst"],
    ["1", space.decode(CELLS[1]), "421211", "85.8633", "", "no 12 epochs"],
    ["2", space.decode(CELLS[2]), "333333", "93.31", "84.1", ""],
]
FINAL, SHORT = Truth("cifar10", "test", 200), Truth("cifar10-valid", "valid", 12)


def write(path, header, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


@pytest.fixture
def table_file(tmp_path):
    return write(tmp_path / "nasbench201.csv.gz", HEADER, ROWS)


def without(column):
    keep = [name != column for name in HEADER]
    return [
        [field for field, kept in zip(row, keep, strict=True) if kept] for row in [HEADER, *ROWS]
    ]


def replaced(row, column, value):
    rows = [list(fields) for fields in ROWS]
    rows[row][HEADER.index(column)] = value
    return rows


def test_truths_are_distinct_and_survive_a_round_trip() -> None:
    assert len(TRUTHS) == 17
    assert len({truth.column for truth in TRUTHS}) == 17
    assert [Truth.parse(str(truth)) for truth in TRUTHS] == list(TRUTHS)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("cifar10/test/200", "c10_test_200"),
        ("cifar10-valid/test/200", "c10v_test_200"),
        ("cifar10-valid/valid/12", "c10v_valid_12"),
        ("cifar100/train/200", "c100_train_200"),
        ("imagenet16-120/test/12", "in16_test_12"),
    ],
)
def test_truth_names_its_column(text, column) -> None:
    assert Truth.parse(text).column == column


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "cifar10/valid/200",
            ["'cifar10/valid/200'", "cifar10-valid/valid/200", "cifar100/test/12"],
        ),
        ("cifar10/tst/200", ["did you mean 'cifar10/test/200'?"]),
        (
            "cifar10/test",
            ["choose one of digits201/test, ", "digits201/valid, cifar10-valid/train/200"],
        ),
        ("cifar10/test/200/1", ["choose one of"]),
        ("cifar10/test/90", ["choose one of"]),
        ("", ["choose one of"]),
    ],
)
def test_unknown_truths_are_refused(text, words) -> None:
    with pytest.raises(InputError) as error:
        Truth.parse(text)
    assert error.value.argument == "truth"
    assert all(word in str(error.value) for word in words), str(error.value)


def test_truth_that_the_table_lacks_cannot_be_made() -> None:
    with pytest.raises(InputError, match=r"^truth: got 'cifar10/valid/200'; choose one of"):
        Truth("cifar10", "valid", 200)


def test_table_has_every_truth_and_its_extremes(data_dir) -> None:
    table = load_nasbench201(data_dir)
    assert table.truths == TRUTHS
    best = {
        str(truth): round(float(table.accuracy(table.ops, truth).max()), 2)
        for truth in TRUTHS
        if (truth.split, truth.epochs) == ("test", 200)
    }
    assert best == {
        "cifar10-valid/test/200": 91.52,
        "cifar10/test/200": 94.37,
        "cifar100/test/200": 73.51,
        "imagenet16-120/test/200": 47.31,
    }
    nothing = table.accuracy(np.zeros((1, 6), np.int32), FINAL)
    np.testing.assert_array_equal(nothing, [10.0])


def test_accuracies_come_in_the_order_asked_for(table_file) -> None:
    table = load_nasbench201(table_file)
    asked = np.array([CELLS[2], CELLS[0], CELLS[2]])
    accuracy = table.accuracy(asked, FINAL)
    assert accuracy.dtype == np.float64
    np.testing.assert_array_equal(accuracy, [93.31, 10.0, 93.31])
    np.testing.assert_array_equal(table.accuracy(asked, SHORT), [84.1, 9.712, 84.1])
    assert table.accuracy(np.zeros((0, 6), np.int32), FINAL).shape == (0,)


def test_table_is_found_by_file_folder_and_environment(table_file, monkeypatch) -> None:
    plain = write(table_file.with_name("copy.csv"), HEADER, ROWS)
    monkeypatch.setenv("JAXNTK_DATA", str(table_file.parent))
    for path in (table_file, str(table_file), table_file.parent, plain, None):
        np.testing.assert_array_equal(load_nasbench201(path).ops, CELLS)


@pytest.mark.parametrize("path", ["absent.csv.gz", "empty", None])
def test_missing_file_says_what_to_download_and_how_to_import_it(
    tmp_path, monkeypatch, path
) -> None:
    monkeypatch.delenv("JAXNTK_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        load_nasbench201(None if path is None else tmp_path / path)
    line = str(error.value)
    assert "\n" not in line
    assert "download NATS-tss-v1_0-3ffb9-simple.tar" in line
    command = (
        "jaxntk import-nasbench201 --source NATS-tss-v1_0-3ffb9-simple --out nasbench201.csv.gz"
    )
    assert command in line
    assert ("JAXNTK_DATA" if path is None else str(tmp_path / path)) in line


def test_cell_that_the_table_lacks_is_named(table_file) -> None:
    table = load_nasbench201(table_file)
    asked = np.array([CELLS[0], [1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]])
    with pytest.raises(
        InputError, match=r"^archs: got 111111 .skip_connect~0.*without a row"
    ) as error:
        table.accuracy(asked, FINAL)
    assert "2 of 3 cells are missing and the table has 3 of 15625" in str(error.value)


def test_value_that_the_table_lacks_is_no_nan(table_file) -> None:
    table = load_nasbench201(table_file)
    assert np.isnan(table.columns["c10v_valid_12"][1])
    with pytest.raises(InputError, match=r"^archs: got 421211 .* without a c10v_valid_12"):
        table.accuracy(np.array(CELLS), SHORT)


def test_column_that_the_table_lacks_lists_those_it_has(table_file) -> None:
    table = load_nasbench201(table_file)
    assert table.truths == (SHORT, FINAL)
    words = "has cifar10-valid/valid/12, cifar10/test/200$"
    with pytest.raises(InputError, match=rf"^truth: got cifar100/test/200, not in .*{words}"):
        table.accuracy(np.array(CELLS), Truth("cifar100", "test", 200))


def test_accuracy_of_no_cell_is_refused(table_file) -> None:
    table = load_nasbench201(table_file)
    with pytest.raises(InputError, match=r"^archs: got an array of shape \(6,\)"):
        table.accuracy(CELLS[0], FINAL)
    with pytest.raises(InputError, match=r"^archs: got operation 9"):
        table.accuracy(np.full((1, 6), 9), FINAL)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (without("ops"), "^table: got the columns arch_id, .*needs the columns ops"),
        ([["ops", "arch_id"], ["000000", "0"]], "needs at least one accuracy: c10v_train_200"),
        ([HEADER], "which holds no row"),
        ([], "which holds no row"),
        ([HEADER, ROWS[0][:3]], "3 fields instead of 6 in line 2"),
        ([HEADER, *replaced(1, "c10_test_200", "n/a")], "c10_test_200 in .*'n/a'.*give numbers"),
        ([HEADER, *replaced(1, "c10_test_200", "100.5")], "c10_test_200 = 100.5 .*percentages"),
        ([HEADER, *replaced(1, "c10_test_200", "-1")], "c10_test_200 = -1.0 .*percentages"),
        ([HEADER, *replaced(1, "c10_test_200", "inf")], "c10_test_200 = inf .*percentages"),
        ([HEADER, *replaced(1, "ops", "42121")], "^ops: got '42121'"),
        ([HEADER, *replaced(1, "ops", "421212")], r"ops 421212 beside arch_str \|avg_pool"),
        ([HEADER, *ROWS, ROWS[1]], "421211 twice in .*keep one row a cell"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, lines, words) -> None:
    file = tmp_path / "table.csv.gz"
    with gzip.open(file, "wt", newline="") as text:
        csv.writer(text).writerows(lines)
    with pytest.raises(InputError, match=words):
        load_nasbench201(file)


def damage(content, how):
    """Bytes of a compressed file, damaged in one of the ways files get damaged."""
    if how == "truncated":
        return content[: len(content) // 2]
    if how == "flipped":
        middle = len(content) // 2
        return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    if how == "no deflate":
        return gzip.compress(content)[:10] + b"\xff" * 20
    return {"empty": b"", "text": b"arch_id,ops\n0,000000\n"}[how]


@pytest.mark.parametrize("how", ["truncated", "flipped", "no deflate", "empty", "text"])
def test_damaged_files_are_refused(table_file, how) -> None:
    table_file.write_bytes(damage(table_file.read_bytes(), how))
    with pytest.raises(InputError, match=r"^table: got .*nasbench201\.csv\.gz.* anew") as error:
        load_nasbench201(table_file)
    assert "\n" not in str(error.value)


def test_binary_file_is_refused(tmp_path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match=r"^table: got .*damaged or cannot be read"):
        load_nasbench201(file)


def test_column_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"c10_test_200 of shape \(2,\) in memory; .* 3 cells"):
        Nasbench201Table(
            np.array(CELLS, np.int32), {"c10_test_200": np.array([10.0, 20.0])}, "memory"
        )
