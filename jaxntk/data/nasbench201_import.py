"""Builds the NAS-Bench-201 table from what the benchmark's own package, ``nats_bench``, reads.

That package unpickles the files of the archive: import only one that you trust.
"""

import csv
import gzip
import io
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from jaxtyping import Int32
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxntk.data.tables import ARCHIVE, COST_COLUMNS, TABLE_FILE, TRUTHS, Dataset
from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201 import encode, format_ops, num_flops, num_params

if TYPE_CHECKING:
    from nats_bench import NATStopology

_DATASETS: dict[Dataset, str] = {
    "cifar10-valid": "cifar10-valid",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "imagenet16-120": "ImageNet16-120",
}
# Older tables took these two from another release with fewer seeds, and named NATS-Bench's apart.
_SAME_AS = {"c100_test_200_nats": "c100_test_200", "in16_test_200_nats": "in16_test_200"}
_META_FILE = "meta.pickle.pbz2"
# Classes and pixels of the images, in the order of COST_COLUMNS.
_COST_SETTINGS = ((10, 32), (100, 32), (120, 16))

ACCURACY_COLUMNS = (*(truth.column for truth in TRUTHS), *_SAME_AS)
HEADER = ("arch_id", "arch_str", "ops", *ACCURACY_COLUMNS, *COST_COLUMNS)
"""The columns of the file that is written."""


def import_nasbench201(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: bool = True
) -> int:
    """Writes ``nasbench201.csv.gz`` from an unpacked archive of the benchmark.

    Accuracies are means over all seeds of the release, in percent to four decimals, empty where the
    release has none; parameters and FLOPs are counted from the definition of the network. The file
    appears under its name only when it is complete.

    Args:
        source: the folder ``NATS-tss-v1_0-3ffb9-simple``; files of single cells may be missing.
        out: the file to write, named ``*.csv.gz``, or a folder to write ``nasbench201.csv.gz`` to.
        progress: draw a progress bar on standard error.

    Returns:
        How many cells were written.

    Raises:
        InputError: ``nats_bench`` is not installed, the archive is not a folder, damaged or without
            cells, or the file cannot be written.
    """
    folder, file = Path(source), Path(out)
    if file.is_dir():
        file /= TABLE_FILE
    if not file.name.endswith(".csv.gz"):
        raise InputError("out", file, "end the name in .csv.gz")
    api = _open_archive(folder)
    indices = [index for index in range(len(api)) if _cell_file(folder, index).is_file()]
    if not indices:
        raise InputError("source", folder, f"the folder holds no cells; unpack {ARCHIVE}.tar anew")
    bar = Progress(
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not progress,
    )
    with _atomic_gzip(file) as text, bar:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        for index in bar.track(indices):
            writer.writerow(_row(api, folder, index))
    return len(indices)


def _open_archive(folder: Path) -> "NATStopology":
    """Opens the archive in the package's fast mode, which reads a cell when it is asked for."""
    try:
        from nats_bench import NATStopology
    except ImportError as error:
        cure = "it reads the benchmark's files; run `pip install nats_bench`"
        raise InputError("nats_bench", "a package that is not installed", cure) from error
    cure = f"give the folder that `tar xf {ARCHIVE}.tar` makes"
    if not folder.is_dir():
        raise InputError("source", f"{folder}, which is no folder", cure)
    # The package would look for meta.pickle.pbz2.pbz2 next, and name that one.
    if not (folder / _META_FILE).is_file():
        raise InputError("source", f"{folder} without {_META_FILE}", cure)
    try:
        return NATStopology(str(folder), fast_mode=True, verbose=False)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("source", f"{folder} ({error})", cure) from error


def _cell_file(folder: Path, index: int) -> Path:
    """Names the file of a cell; releases differ in whether they pad the number."""
    padded = folder / f"{index:06d}.pickle.pbz2"
    return padded if padded.is_file() else folder / f"{index}.pickle.pbz2"


def _row(api: "NATStopology", folder: Path, index: int) -> list[str]:
    """Reads one cell and forgets it again, so that memory does not grow with the archive."""
    try:
        api.reload(str(folder), index)
    except (OSError, EOFError, pickle.UnpicklingError, AssertionError) as error:
        got = f"{_cell_file(folder, index)}, a damaged file ({error})"
        raise InputError("source", got, f"unpack {ARCHIVE}.tar anew") from error
    accuracies = _accuracies(api, index)
    api.arch2infos_dict.pop(index)
    arch_str = api.arch(index)
    arch = encode(arch_str)
    return [str(index), arch_str, format_ops(arch), *accuracies, *_costs(arch)]


def _accuracies(api: "NATStopology", index: int) -> list[str]:
    """Reads the accuracies of a cell, mean over seeds."""
    values = {}
    for truth in TRUTHS:
        try:
            info = api.get_more_info(
                index, _DATASETS[truth.dataset], hp=str(truth.epochs), is_random=False
            )
        except KeyError:
            info = {}  # this cell was not trained so long, or not on these images
        value = info.get(f"{truth.split}-accuracy")
        values[truth.column] = "" if value is None else _four_decimals(value)
    values |= {name: values[same] for name, same in _SAME_AS.items()}
    return [values[name] for name in ACCURACY_COLUMNS]


def _costs(arch: Int32[np.ndarray, "6"]) -> list[str]:
    """Counts parameters, and FLOPs in millions, for each data set."""
    fields = []
    for num_classes, image_size in _COST_SETTINGS:
        flops = num_flops(arch, num_classes=num_classes, image_size=image_size)
        fields += [str(num_params(arch, num_classes=num_classes)), _four_decimals(flops / 1e6)]
    return fields


def _four_decimals(value: float) -> str:
    """Writes a number to four decimals, without trailing zeros."""
    return str(float(np.round(value, 4)))


@contextmanager
def _atomic_gzip(file: Path) -> Iterator[TextIO]:
    """Opens a compressed text file that appears under its name only when it is complete."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as raw:
            # No name and no time in the header: the same content gives the same bytes.
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
            ):
                yield text
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(file)
    except OSError as error:
        got = f"{file} ({error.strerror or error})"
        raise InputError("out", got, "choose a folder with room and write access") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
