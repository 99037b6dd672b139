"""A population split into parts that are scored independently, on one machine or on many.

The split is fixed: of n shards, shard i (counted from 1) takes the cells i - 1, i - 1 + n,
i - 1 + 2n, ... of the population in the order of the unsharded run. Every cell is in exactly one
shard, and the sizes differ by at most one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxntk.errors import InputError
from jaxntk.runs.finished import SHARD_FOLDERS

_FLAG = re.compile(r"--shard[= ]\S+")


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a population.

    Args:
        index: which part, from 1 to `count`.
        count: how many parts there are.

    Example:
        >>> shard = Shard.parse("2/8")
        >>> str(shard), shard.folder
        ('2/8', 'shard-02-of-08')
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads a shard as it is written on the command line.

        Args:
            text: ``I/N``, such as ``2/8``.

        Returns:
            The shard.

        Raises:
            InputError: it is not two whole numbers, or not 1 <= I <= N.
        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise InputError("shard", repr(text), "give I/N with 1 <= I <= N, such as 2/8")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def folder(self) -> str:
        """Name of the shard's own folder below that of the run."""
        digits = max(2, len(str(self.count)))
        return f"shard-{self.index:0{digits}}-of-{self.count:0{digits}}"

    def part(self, cells: Int[np.ndarray, "num genes"]) -> Int[np.ndarray, "part genes"]:
        """Returns the cells of this shard: ``cells[index - 1 :: count]``.

        Args:
            cells: the whole population, in order.

        Returns:
            Every `count`-th cell.

        Raises:
            InputError: there are more shards than cells.

        Example:
            >>> cells = np.repeat(np.arange(5)[:, None], 6, axis=1)
            >>> Shard(2, 2).part(cells)[:, 0].tolist()
            [1, 3]
        """
        if self.count > len(cells):
            got = f"{self} of a population of {len(cells)} cells"
            raise InputError("shard", got, f"give at most {len(cells)} shards")
        return cells[self.index - 1 :: self.count]

    def command(self, other: str) -> str:
        """Returns the command that runs this shard, from that of another shard of the run.

        Args:
            other: the command of another shard.

        Returns:
            The command, with this shard's ``--shard``.

        Example:
            >>> Shard(3, 8).command("jaxntk run a.py --out runs/a --shard 2/8")
            'jaxntk run a.py --out runs/a --shard 3/8'
        """
        return _FLAG.sub(f"--shard {self}", other)


def shard_folders(out: Path) -> list[Path]:
    """Lists the folders of shards below that of a run.

    Args:
        out: folder of the run; it may not exist yet.

    Returns:
        The folders, in order of their names.
    """
    return sorted(path for path in out.glob(SHARD_FOLDERS) if path.is_dir())
