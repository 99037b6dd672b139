"""How well do random search, regularised evolution and a genetic algorithm choose from a table?

What      500 independent searches of each kind see validation accuracies and choose a cell, whose
          test accuracy counts, after 100, 200 and 500 evaluations. All searches of a kind run at
          once, in one compiled program.
Paper     Real et al., AAAI 2019, arXiv 1802.01548. On NAS-Bench-201 Dong and Yang (ICLR 2020, arXiv
          2001.00326) report, for a budget of 12,000 s, 93.92 +- 0.30 % for regularised evolution
          and 93.70 +- 0.36 % for random search on CIFAR-10's test images, of 94.37 %.
Needs     digits201: nothing. cifar10, cifar100: nasbench201.csv.gz (jaxntk import-nasbench201).
Time      seconds.
Command   python experiments/search_tables.py digits201 --out runs/search_digits201
          python experiments/search_tables.py cifar10 --out runs/search_cifar10
          python experiments/search_tables.py cifar100 --out runs/search_cifar100
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.studies.search.table import SearchTableConfig, run_search_table


@dataclass(frozen=True)
class Options:
    """Search a table many times."""

    out: Path
    """Folder of the results."""
    config: Annotated[SearchTableConfig, tyro.conf.arg(name="")]
    """What is searched."""


def _preset(name: str, select: str, report: str) -> Options:
    return Options(Path(f"runs/search_{name}"), SearchTableConfig(select=select, report=report))


PRESETS = {
    "digits201": (
        "Digits-201: everything in the package",
        _preset("digits201", "digits201/valid", "digits201/test"),
    ),
    "cifar10": (
        "NAS-Bench-201, CIFAR-10",
        _preset("cifar10", "cifar10-valid/valid/200", "cifar10/test/200"),
    ),
    "cifar100": (
        "NAS-Bench-201, CIFAR-100",
        _preset("cifar100", "cifar100/valid/200", "cifar100/test/200"),
    ),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, run_search_table))
