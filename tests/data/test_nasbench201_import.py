"""The importer, on archives in the layout of the benchmark's package, written by that package."""

import bz2
import gzip
import os
import pickle
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from jaxntk.data.nasbench201_import import HEADER, import_nasbench201
from jaxntk.data.tables import TRUTHS, Truth, load_nasbench201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

nats_bench = pytest.importorskip("nats_bench", reason="needs `pip install nats_bench`")

CELLS = [[4, 2, 1, 2, 1, 1], [0, 0, 0, 0, 0, 0], [3, 3, 3, 3, 3, 3]]
# What each data set is evaluated on, by the names of the archive.
SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
SEEDS = {"12": (777,), "200": (777, 888, 999)}


def made_up(*what) -> float:
    """An accuracy that no other question shares."""
    return 5.0 + 90.0 * zlib.crc32(repr(what).encode()) / 2**32


def trial(cell_id, arch_str, dataset, epochs, seed):
    """The record of one training run; accuracies change from epoch to epoch."""
    record = nats_bench.ResultsCount(
        dataset,
        None,
        {e: made_up(cell_id, dataset, "train", epochs, seed, e) for e in range(epochs)},
        dict.fromkeys(range(epochs), 1.0),
        0.1,
        1.0,
        {"arch_str": arch_str, "channel": 16, "num_cells": 5, "class_num": 10},
        seed,
        epochs,
        None,
    )
    keys = [(split, e) for split in SETS[dataset] for e in range(epochs)]
    accuracies = {f"{s}@{e}": made_up(cell_id, dataset, s, epochs, seed, e) for s, e in keys}
    ones = dict.fromkeys(accuracies, 1.0)
    record.update_eval(accuracies, ones, ones)
    return record


def archive(folder, cell_ids, datasets=tuple(SETS), pattern="{:06d}.pickle"):
    """Writes an archive with three cells in its index and the files of some of them."""
    folder.mkdir()
    strings = [space.decode(cell) for cell in CELLS]
    nats_bench.pickle_save({"meta_archs": strings}, folder / "meta.pickle")
    for cell_id in cell_ids:
        content = {}
        for hp, seeds in SEEDS.items():
            results = nats_bench.ArchResults(cell_id, strings[cell_id])
            for dataset in datasets:
                for seed in seeds:
                    record = trial(cell_id, strings[cell_id], dataset, int(hp), seed)
                    results.update(dataset, seed, record)
            content[hp] = results.state_dict()
        nats_bench.pickle_save(content, folder / pattern.format(cell_id))
    return folder


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    return archive(tmp_path_factory.mktemp("nats") / "complete", range(3))


SPLITS = {
    "cifar10-valid": {"train": "train", "valid": "x-valid", "test": "ori-test"},
    "cifar10": {"train": "train", "test": "ori-test"},
    "cifar100": {"train": "train", "valid": "x-valid", "test": "x-test"},
    "imagenet16-120": {"train": "train", "valid": "x-valid", "test": "x-test"},
}


@pytest.mark.parametrize("truth", TRUTHS, ids=str)
def test_every_column_is_the_mean_over_seeds_after_the_last_epoch(
    complete, tmp_path, truth
) -> None:
    out = tmp_path / "nasbench201.csv.gz"
    assert import_nasbench201(complete, out, progress=False) == 3
    theirs = {"imagenet16-120": "ImageNet16-120"}.get(truth.dataset, truth.dataset)
    split, epochs = SPLITS[truth.dataset][truth.split], truth.epochs
    expected = [
        np.mean([
            made_up(cell_id, theirs, split, epochs, seed, epochs - 1) for seed in SEEDS[str(epochs)]
        ])
        for cell_id in range(3)
    ]
    accuracy = load_nasbench201(out).accuracy(np.array(CELLS), truth)
    np.testing.assert_allclose(accuracy, expected, rtol=0, atol=5.1e-5)


def test_file_has_the_columns_and_the_costs_of_the_table(complete, tmp_path, data_dir) -> None:
    out = tmp_path / "made.csv.gz"
    import_nasbench201(complete, out, progress=False)
    with gzip.open(out, "rt") as ours, gzip.open(data_dir / "nasbench201.csv.gz", "rt") as theirs:
        assert set(ours.readline().strip().split(",")) == set(theirs.readline().strip().split(","))
    made, known = load_nasbench201(out), load_nasbench201(data_dir)
    rows = [int(np.flatnonzero(space.indices_of(known.ops) == space.index_of(c))[0]) for c in CELLS]
    for name in ("params_c10", "flops_m_c10", "params_c100", "flops_m_c100", "flops_m_in16"):
        np.testing.assert_array_equal(made.columns[name], known.columns[name][rows])


def test_same_archive_gives_the_same_bytes(complete, tmp_path) -> None:
    first, second = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    import_nasbench201(complete, first, progress=False)
    import_nasbench201(complete, second, progress=True)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "a time in the header"


def test_archive_with_cells_missing_gives_an_incomplete_table(tmp_path) -> None:
    source = archive(tmp_path / "part", [0, 2], pattern="{:d}.pickle")
    assert import_nasbench201(source, tmp_path, progress=False) == 2
    table = load_nasbench201(tmp_path)
    np.testing.assert_array_equal(table.ops, [CELLS[0], CELLS[2]])
    with pytest.raises(InputError, match=r"^archs: got 000000 .*without a row"):
        table.accuracy(np.array(CELLS), Truth("cifar10", "test", 200))


def test_data_set_without_results_leaves_fields_empty(tmp_path) -> None:
    source = archive(tmp_path / "part", [1], datasets=("cifar10",))
    import_nasbench201(source, tmp_path / "made.csv.gz", progress=False)
    table = load_nasbench201(tmp_path / "made.csv.gz")
    assert not np.isnan(table.columns["c10_test_12"][0])
    with pytest.raises(InputError, match=r"without a c100_test_200"):
        table.accuracy(np.array([CELLS[1]]), Truth("cifar100", "test", 200))


def test_missing_package_names_the_command(complete, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(InputError, match=r"^nats_bench: got .*`pip install nats_bench`"):
        import_nasbench201(complete, tmp_path / "made.csv.gz", progress=False)


def test_archives_that_are_none_are_refused(tmp_path) -> None:
    out = tmp_path / "made.csv.gz"
    packed = tmp_path / "NATS-tss-v1_0-3ffb9-simple.tar"
    packed.write_bytes(b"")
    (tmp_path / "bare").mkdir()
    no_cells = archive(tmp_path / "no_cells", [])
    for source, words in [
        (packed, "which is no folder; give the folder that `tar xf"),
        (tmp_path / "absent", "which is no folder"),
        (tmp_path / "bare", r"bare without meta\.pickle\.pbz2; give the folder"),
        (no_cells, "holds no cells"),
    ]:
        with pytest.raises(InputError, match=rf"^source: got .*{words}"):
            import_nasbench201(source, out, progress=False)
    assert not out.exists()


@pytest.mark.parametrize("content", ["truncated", "not bzip2", "not a pickle", "not a dict"])
def test_damaged_cell_is_named_and_leaves_nothing_behind(tmp_path, content) -> None:
    source = archive(tmp_path / "archive", [0, 1])
    cell = source / "000001.pickle.pbz2"
    if content == "truncated":
        cell.write_bytes(cell.read_bytes()[:-40])
    elif content == "not bzip2":
        cell.write_bytes(b"no bzip2")
    else:
        cell.write_bytes(bz2.compress(b"\xff" if content == "not a pickle" else pickle.dumps([1])))
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"^source: got .*000001.pickle.pbz2, a damaged file"):
        import_nasbench201(source, out / "made.csv.gz", progress=False)
    assert list(out.iterdir()) == []


def test_failed_import_keeps_the_file_that_was_there(tmp_path) -> None:
    source, out = archive(tmp_path / "archive", [0]), tmp_path / "made.csv.gz"
    import_nasbench201(source, out, progress=False)
    before = out.read_bytes()
    (source / "000000.pickle.pbz2").write_bytes(b"no bzip2")
    with pytest.raises(InputError, match=r"damaged file"):
        import_nasbench201(source, out, progress=False)
    assert out.read_bytes() == before


def test_unfit_names_are_refused(complete, tmp_path) -> None:
    with pytest.raises(InputError, match=r"^out: got .*table\.csv; end the name in \.csv\.gz"):
        import_nasbench201(complete, tmp_path / "table.csv", progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^out: got .*choose a folder with room and write access"):
        import_nasbench201(complete, tmp_path / "file" / "table.csv.gz", progress=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to fail a write")
def test_full_disk_is_told_and_leaves_nothing_behind(complete, tmp_path) -> None:
    out = tmp_path / "out" / "made.csv.gz"
    out.parent.mkdir()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"^out: got .*No space left on device.*choose a folder"):
        import_nasbench201(complete, out, progress=False)
    assert list(out.parent.iterdir()) == []


def test_header_names_every_truth() -> None:
    assert {truth.column for truth in TRUTHS} <= set(HEADER)
