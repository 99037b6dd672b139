"""How long many searches of a table take at once, beside a plain Python loop.

    python -m benchmarks.table_search

The claim that it measures: 1,000 independent searches by regularised evolution of 200 evaluations
each, on a table of NAS-Bench-201's 15,625 cells, take under 10 s on 2 CPU cores after compilation.
The loop beside it keeps its population in a list, and is run for a few searches only; its time is
that of one, times their number. Scores are noise: they do not change the work.
"""

import random
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxntk.runs.rows import environment, write_json_atomic
from jaxntk.search import code_of, regularised_evolution, run_search
from jaxntk.studies.search.table import CELLS

SEARCHES, EVALUATIONS, POPULATION, SAMPLE = 1000, 200, 50, 10
LOOPS = 20
REPEATS = 5
FILE = Path("benchmarks/results/table_search.json")


def plain_search(scores: list[float], rng: random.Random) -> float:
    """Regularised evolution as one would write it down, on lists.

    Args:
        scores: of each cell, by its number.
        rng: what is drawn from.

    Returns:
        The best score that was seen.
    """
    alive: list[tuple[list[int], float]] = []
    best = -np.inf
    for step in range(EVALUATIONS):
        if step < POPULATION:
            arch = [rng.randrange(5) for _ in range(6)]
        else:
            parent = max((rng.choice(alive) for _ in range(SAMPLE)), key=lambda each: each[1])
            arch = list(parent[0])
            gene = rng.randrange(6)
            arch[gene] = (arch[gene] + rng.randrange(1, 5)) % 5
        code = 0
        for gene in arch:
            code = 5 * code + gene
        best = max(best, scores[code])
        alive.append((arch, scores[code]))
        if len(alive) > POPULATION:
            alive.pop(0)
    return best


def main() -> int:
    """Measures, prints and writes the record.

    Returns:
        0, or 1 where the searches take longer than they may.
    """
    console = Console()
    scores = np.random.default_rng(0).random(5**6)
    table = jnp.asarray(scores, jnp.float32)
    search = regularised_evolution(CELLS, population=POPULATION, sample=SAMPLE)

    def best_of(key: jax.Array) -> jax.Array:
        def objective(archs: jax.Array) -> jax.Array:
            return table[code_of(archs, CELLS.sizes)]

        return run_search(search, objective, key, EVALUATIONS).scores.max()

    keys = jax.random.split(jax.random.key(0), SEARCHES)
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(best_of)).lower(keys).compile()
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        best = np.asarray(compiled(keys))
        seconds.append(time.perf_counter() - start)
    listed = scores.tolist()
    start = time.perf_counter()
    plain = [plain_search(listed, random.Random(seed)) for seed in range(LOOPS)]
    loop_seconds = (time.perf_counter() - start) * SEARCHES / LOOPS
    record = {
        "command": "python -m benchmarks.table_search",
        "searches": SEARCHES,
        "evaluations": EVALUATIONS,
        "seconds": seconds,
        "median_seconds": float(np.median(seconds)),
        "compile_seconds": compile_seconds,
        "loop_seconds_of_all": loop_seconds,
        "ratio": loop_seconds / float(np.median(seconds)),
        "mean_best": float(best.mean()),
        "mean_best_of_loop": float(np.mean(plain)),
        "environment": environment(),
    }
    write_json_atomic(FILE, record)
    console.print(
        f"{SEARCHES} searches of {EVALUATIONS} evaluations: {record['median_seconds']:.2f} s "
        f"(compiled in {compile_seconds:.1f} s); a Python loop: {loop_seconds:.1f} s, "
        f"{record['ratio']:.1f} times as long; mean of the best scores {best.mean():.4f} and "
        f"{np.mean(plain):.4f}",
        highlight=False,
    )
    return int(record["median_seconds"] > 10)


if __name__ == "__main__":
    sys.exit(main())
