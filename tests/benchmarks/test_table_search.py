"""The two sides of the benchmark search alike."""

import random

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import table_search
from benchmarks.table_search import plain_search
from jaxntk.search import code_of, regularised_evolution, run_searches
from jaxntk.studies.search.table import CELLS


def test_both_sides_find_scores_of_one_distribution(monkeypatch):
    """A score with one optimum, so that evolution matters; means within four standard errors."""
    monkeypatch.setattr(table_search, "EVALUATIONS", 60)
    monkeypatch.setattr(table_search, "POPULATION", 10)
    codes = np.arange(5**6)
    digits = np.stack([codes // 5**place % 5 for place in range(6)])
    scores = (digits == np.array([3, 1, 4, 1, 0, 2])[:, None]).sum(axis=0).astype(float)
    listed, num = scores.tolist(), 200
    plain = [plain_search(listed, random.Random(seed)) for seed in range(num)]
    table = jnp.asarray(scores, jnp.float32)
    search = regularised_evolution(CELLS, population=10, sample=table_search.SAMPLE)
    history = run_searches(
        search,
        lambda archs: table[code_of(archs, CELLS.sizes)],
        jax.random.split(jax.random.key(0), num),
        60,
    )
    ours = np.asarray(history.scores).max(axis=1)
    error = np.sqrt((np.var(plain) + np.var(ours)) / num)
    assert abs(np.mean(plain) - ours.mean()) < 4 * error, (np.mean(plain), ours.mean(), error)
    assert ours.mean() > 4
