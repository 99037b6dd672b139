"""A small space with scores that cost nothing, to be searched."""

import dataclasses

import numpy as np

from jaxntk.results.transformer_plot import transformer_figure
from jaxntk.spaces.space import Space
from jaxntk.spaces.vit_cost import ViTCosts
from jaxntk.studies.search.options import SearchOptions
from jaxntk.studies.search.searchable import Searchable, limited_to

SIZES = (3, 4, 2)
EVERYTHING = np.indices(SIZES).reshape(3, -1).T.astype(np.int32)
OPTIONS = SearchOptions(goals=("score",), evaluations=12, searches=3, population=4)


def worth(archs):
    """Larger genes are better; the last one is of no importance."""
    return 50.0 + 4 * archs[:, 0] + archs[:, 1]


def costs(archs):
    count = 10 + archs.sum(axis=1)
    return ViTCosts(count, 100 * count, count, count)


SPACE = Space(
    name="made up",
    sizes=SIZES,
    read=lambda text: np.array([int(gene) for gene in text], np.int32),
    describe=lambda arch: {"arch": "".join(map(str, arch.tolist()))},
    canonical=lambda archs: archs,
    function=lambda arch: "".join(map(str, arch.tolist())),
    representative=lambda form: np.array([int(gene) for gene in form], np.int32),
    costs=costs,
)


class Remembered:
    """Scores that count how often they are asked; one option always fails."""

    def __init__(self, *functions):
        self.functions, self.known = functions, {}

    def resume(self):
        pass

    def form(self, arch):
        return str(arch[:2].tolist())

    def seconds(self, arch):
        return 1.0 + int(arch[0])

    @property
    def adopted(self):
        return 0

    @property
    def scored(self):
        return len(self.known)

    def __call__(self, archs):
        for arch in archs:
            self.known[self.form(arch)] = self.known.get(self.form(arch), 0) + 1
        values = np.stack([function(archs) for function in self.functions], axis=1)
        values[archs[:, 1] == 3] = np.nan
        return values


def searchable(scores=None, options=OPTIONS, **changes):
    whole = Searchable(
        name="guided",
        space=limited_to(SPACE, costs, options),
        scores=scores or Remembered(worth),
        describe=lambda arch: {"arch": str(arch.tolist())},
        draw=lambda arch, title: transformer_figure((4,), (2,), (8,), title),
        costs=costs,
        digest="0" * 64,
        of="accuracy",
        truth=worth,
        select=None,
        everything=EVERYTHING,
    )
    return dataclasses.replace(whole, **changes)
