"""ViT-Bench-101: accuracies of vision transformers (Wei et al., 2023, arXiv 2312.09059).

A table is a CSV file with a row a network: ``set``, whose name begins with ``autoformer`` or
``pit``, ``idx``, the sizes ``embed_dim``, ``depth``, ``num_heads`` and ``mlp_ratio``, numbers of
one network separated by blanks, ``params_c100``, and accuracies, in columns that end in ``_acc``.
Those that end in ``_base_acc`` are of networks trained by themselves, those in ``_kd_acc`` of
networks that were taught by another.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from jaxntk.data.csv_table import numbers, read_csv
from jaxntk.errors import InputError
from jaxntk.spaces import autoformer, pit
from jaxntk.spaces.vit_cost import ViTCosts

ACCURACY = "_acc"
"""Ends the name of a column of accuracies."""
_COLUMNS = ("set", "idx", "embed_dim", "depth", "num_heads", "mlp_ratio", "params_c100")
_NUM_CLASSES = 100


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one set.

    Args:
        family: ``autoformer`` (encoded in :data:`jaxntk.spaces.autoformer.VITBENCH101`) or ``pit``.
        names: what the table calls each of them, its column ``idx``.
        archs: an encoding a row.
        accuracies: by the name of their column, in percent; NaN where there is none.
    """

    family: str
    names: tuple[str, ...]
    archs: Int32[np.ndarray, "num genes"]
    accuracies: Mapping[str, Float64[np.ndarray, " num"]]

    @property
    def space(self) -> str:
        """The space that they are of, as :data:`jaxntk.spaces.registry.SPACES` has it."""
        return {"autoformer": "autoformer-vitbench101", "pit": "pit"}[self.family]

    def first(self, num: int | None) -> "Networks":
        """Returns the first networks of the set.

        Args:
            num: how many at most; None for all.

        Returns:
            These networks.
        """
        return Networks(
            self.family,
            self.names[:num],
            self.archs[:num],
            {name: values[:num] for name, values in self.accuracies.items()},
        )


def load_vitbench101(path: str | os.PathLike[str]) -> dict[str, Networks]:
    """Reads a table.

    Args:
        path: the CSV file, compressed where its name ends in ``.gz``.

    Returns:
        The networks of each set, by its name, in the order of the table.

    Raises:
        InputError: a file that is missing or damaged, a column that is missing, a set or a size
            that is unknown, a parameter count that is not the network's, or an accuracy outside
            0..100.
    """
    file = Path(path)
    header, rows = read_csv(file)
    missing = [name for name in _COLUMNS if name not in header]
    truths = [name for name in header if name.endswith(ACCURACY)]
    if missing or not truths or len(set(header)) < len(header):
        wanted = f"{', '.join(_COLUMNS)} and at least one that ends in {ACCURACY}"
        got = f"the columns {', '.join(header)} in {file}"
        raise InputError("table", got, f"a table needs the columns {wanted}, each once")
    texts = [dict(zip(header, row, strict=True)) for row in rows]
    sets = dict.fromkeys(row["set"] for row in texts)
    return {
        name: _networks(name, [row for row in texts if row["set"] == name], truths, file)
        for name in sets
    }


def _networks(name: str, rows: list[dict[str, str]], truths: list[str], file: Path) -> Networks:
    family = next((each for each in _READERS if name.startswith(each)), None)
    if family is None:
        cure = f"names of sets begin with {' or '.join(_READERS)}"
        raise InputError("table", f"set {name!r} in {file}", cure)
    read, count = _READERS[family], _COUNTERS[family]
    archs = []
    for row in rows:
        try:
            archs.append(read(row))
        except (InputError, ValueError) as error:
            got = f"{file}, {name} {row['idx']} ({error})"
            raise InputError("table", got, "give sizes of the space") from error
    encoded = np.stack(archs)
    counted = count(encoded).params
    given = numbers([row["params_c100"] for row in rows], "params_c100", file)
    for row, ours, theirs in zip(rows, counted, given, strict=True):
        if not np.isnan(theirs) and ours != theirs:
            got = f"params_c100={theirs:.0f} for {name} {row['idx']} in {file}"
            raise InputError("table", got, f"the network of these sizes has {ours}")
    accuracies = {each: numbers([row[each] for row in rows], each, file) for each in truths}
    for each, values in accuracies.items():
        wrong = values[(values < 0) | (values > 100)]
        if wrong.size:
            got = f"{each} = {wrong[0]} in {file}"
            raise InputError("table", got, "accuracies are percentages, 0..100")
    return Networks(family, tuple(row["idx"] for row in rows), encoded, accuracies)


def _read_autoformer(row: Mapping[str, str]) -> Int32[np.ndarray, " genes"]:
    heads = tuple(int(each) for each in row["num_heads"].split())
    ratios = tuple(float(each) for each in row["mlp_ratio"].split())
    if len(heads) != int(row["depth"]):
        raise InputError("num_heads", f"{len(heads)} for depth {row['depth']}", "give one a block")
    sizes = autoformer.Sizes(int(row["embed_dim"]), heads, ratios)
    return autoformer.encode(sizes, autoformer.VITBENCH101)


def _read_pit(row: Mapping[str, str]) -> Int32[np.ndarray, " genes"]:
    depths, heads = (tuple(int(n) for n in row[name].split()) for name in ("depth", "num_heads"))
    return pit.encode(pit.Sizes(int(row["embed_dim"]), depths, heads, int(row["mlp_ratio"])))


_READERS: dict[str, Callable[[Mapping[str, str]], Int32[np.ndarray, " genes"]]] = {
    "autoformer": _read_autoformer,
    "pit": _read_pit,
}
_COUNTERS: dict[str, Callable[[Int32[np.ndarray, "num genes"]], ViTCosts]] = {
    "autoformer": partial(
        autoformer.population_costs, space=autoformer.VITBENCH101, num_classes=_NUM_CLASSES
    ),
    "pit": partial(pit.population_costs, num_classes=_NUM_CLASSES),
}
