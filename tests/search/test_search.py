"""Every search against the contract, a known optimum, and its own loop in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxntk.errors import InputError
from jaxntk.search import (
    SearchSpace,
    best_so_far,
    code_of,
    genetic_algorithm,
    limited,
    random_search,
    regularised_evolution,
    run_search,
    run_searches,
)
from jaxntk.search import space as space_module

KEY = jax.random.key(0)
SPACE = SearchSpace((5,) * 6)
TARGET = np.array([4, 2, 1, 2, 1, 3])
SEARCHES = {
    "random": random_search(SPACE, batch=4),
    "evolution": regularised_evolution(SPACE, population=10, sample=4),
    "genetic": genetic_algorithm(SPACE, population=20, tournament=3, elite=2),
}


@pytest.fixture(params=list(SEARCHES))
def search(request):
    return SEARCHES[request.param]


def matches(archs):
    """How many genes are those of the target: one optimum, and no trap."""
    return (archs == jnp.asarray(TARGET)[None]).sum(axis=-1).astype(jnp.float32)


def loop(search, objective, key, evaluations):
    """The same search, one call after the other."""
    state, archs, scores = search.init(key), [], []
    ask, tell = jax.jit(search.ask), jax.jit(search.tell)
    while len(archs) < evaluations:
        asked, state = ask(state)
        told = objective(asked)
        state = tell(state, asked, told)
        archs += list(np.asarray(asked))
        scores += list(np.asarray(told))
    return np.array(archs[:evaluations]), np.array(scores[:evaluations])


def test_jit_vmap_and_a_python_loop_give_the_same_history(search):
    keys = jax.random.split(jax.random.key(0), 3)
    many = run_searches(search, matches, keys, 50)
    for at in range(3):
        archs, scores = loop(search, matches, keys[at], 50)
        np.testing.assert_array_equal(many.archs[at], archs)
        np.testing.assert_array_equal(many.scores[at], scores)
    one = jax.jit(lambda key: run_search(search, matches, key, 50))(keys[1])
    np.testing.assert_array_equal(one.archs, many.archs[1])


@pytest.mark.parametrize("name", ["evolution", "genetic"])
def test_a_known_optimum_is_found_sooner_than_by_chance(name):
    """200 searches each of 200 evaluations, compared by Mann and Whitney's test."""
    best = {
        each: np.asarray(
            run_searches(
                SEARCHES[each], matches, jax.random.split(jax.random.key(1), 200), 200
            ).scores
        ).max(axis=1)
        for each in ("random", name)
    }
    test = scipy.stats.mannwhitneyu(best[name], best["random"], alternative="greater")
    assert test.pvalue < 1e-6, (best[name].mean(), best["random"].mean())


def test_random_search_is_uniform():
    space = SearchSpace((2, 3))
    history = run_search(
        random_search(space, batch=50), lambda a: jnp.zeros(50), jax.random.key(0), 6000
    )
    counts = np.bincount(np.asarray(code_of(history.archs, space.sizes)), minlength=6)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3, counts


def test_failures_are_never_parents_nor_the_best(search):
    """The better half of the scores fails, by NaN and infinity: none of it is selected."""

    def failing(archs):
        scores = matches(archs)
        bad = jnp.where(archs[:, 0] % 2 == 0, jnp.nan, jnp.inf)
        return jnp.where(scores >= 3, bad, scores)

    history = run_searches(search, failing, jax.random.split(jax.random.key(0), 20), 200)
    best = np.asarray(best_so_far(history.scores))[:, -1]
    assert (best == 2).all(), best
    late = np.asarray(history.scores)[:, 100:]
    if search is not SEARCHES["random"]:
        # Children of parents with 2 matches; had failures been parents, most would fail.
        assert np.isfinite(late).mean() > 0.5, np.isfinite(late).mean()


def test_all_failures_are_survived(search):
    history = run_search(search, lambda archs: jnp.full(len(archs), jnp.nan), jax.random.key(0), 60)
    assert history.archs.shape == (60, 6)
    assert ((history.archs >= 0) & (history.archs < 5)).all()
    assert (best_so_far(history.scores) == -jnp.inf).all()


def few_convolutions(arch):
    return (arch == 3).sum() <= 1


def test_limits_are_never_violated():
    space = limited(SPACE, few_convolutions, jax.random.key(3))
    target = jnp.full((1, 6), 3)
    for search in (
        random_search(space),
        regularised_evolution(space, population=8, sample=3),
        genetic_algorithm(space, population=16),
    ):
        history = run_searches(
            search,
            lambda archs: (archs == target).sum(axis=-1).astype(jnp.float32),
            jax.random.split(jax.random.key(0), 30),
            160,
        )
        assert ((history.archs == 3).sum(axis=-1) <= 1).all()


def test_random_architectures_within_tight_limits_are_all_equally_likely():
    """27 of 15,625: with 32 tries and a fallback nearly all draws would be the fallback."""
    space = limited(SPACE, lambda arch: (arch[:3] <= 2).all() & (arch[3:] == 1).all(), KEY)
    archs = run_search(random_search(space, batch=500), matches, KEY, 1500).archs
    _, counts = np.unique(np.asarray(archs), axis=0, return_counts=True)
    assert len(counts) == 27
    assert scipy.stats.chisquare(counts).pvalue > 0.001, counts


def test_draws_in_vain_end_with_the_fallback(monkeypatch):
    monkeypatch.setattr(space_module, "SEARCHED", 64)
    space = SearchSpace((5,) * 6, admits=lambda arch: (arch == 4).all(), fallback=(4,) * 6)
    archs = run_search(random_search(space, batch=3), matches, KEY, 6).archs
    np.testing.assert_array_equal(archs, np.full((6, 6), 4))


def test_where_tries_run_out_a_child_is_its_parent():
    only = jnp.asarray(TARGET)
    space = SearchSpace(
        (5,) * 6, admits=lambda arch: (arch == only).all(), fallback=tuple(TARGET.tolist()), tries=2
    )
    history = run_search(regularised_evolution(space, population=4), matches, jax.random.key(0), 30)
    np.testing.assert_array_equal(history.archs, np.tile(TARGET, (30, 1)))


def test_impossible_limits_are_refused_before_any_work():
    with pytest.raises(InputError, match="limits: got none of 100,000 architectures"):
        limited(SPACE, lambda arch: arch.sum() < 0, jax.random.key(0))


def test_evolution_is_that_of_the_paper():
    """Algorithm 1 of Real et al. in plain Python, given the same draws."""
    population, sample = 5, 3
    search = regularised_evolution(SPACE, population=population, sample=sample)
    state, alive = search.init(jax.random.key(7)), []
    ask, tell = jax.jit(search.ask), jax.jit(search.tell)
    for step in range(40):
        before = state
        asked, state = ask(state)
        child = np.asarray(asked[0])
        if step >= population:
            chosen = jax.random.split(before.key, 4)[2]
            drawn = np.asarray(
                jax.random.randint(chosen, (sample,), 0, population, dtype=jnp.int32)
            )
            # The ring holds the member of age a at (told - a) % population.
            ring = {index % population: member for index, member in alive}
            best = max((ring[int(at)] for at in drawn), key=lambda member: member[1])
            assert (child != best[0]).sum() == 1, (step, child, best)
        score = float(matches(asked)[0])
        alive = [*alive, (step, (child, score))][-population:]
        state = tell(state, asked, jnp.asarray([score]))


def test_the_elite_of_a_generation_lives_on():
    search = genetic_algorithm(SPACE, population=10, elite=3, mutation_rate=1.0)
    ask, tell = jax.jit(search.ask), jax.jit(search.tell)
    asked, state = ask(search.init(jax.random.key(0)))
    state = tell(state, asked, matches(asked))
    for _ in range(5):
        best = np.sort(np.asarray(state.scores))[::-1][:3]
        asked, state = ask(state)
        state = tell(state, asked, matches(asked))
        assert (np.sort(np.asarray(state.scores))[::-1][:3] >= best).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_search(SPACE, batch=0), "batch: got 0"),
        (lambda: regularised_evolution(SPACE, population=0), "population: got 0"),
        (lambda: regularised_evolution(SPACE, sample=0), "sample: got 0"),
        (lambda: genetic_algorithm(SPACE, population=5, elite=5), "elite: got 5; give 0 to 4"),
        (lambda: genetic_algorithm(SPACE, crossover_rate=1.5), "crossover_rate: got 1.5"),
        (lambda: SearchSpace(()), "sizes: got"),
        (lambda: SearchSpace((2,), tries=0), "tries: got 0"),
        (lambda: SearchSpace((2,), admits=lambda a: a[0] == 0), "fallback: got None"),
        (
            lambda: SearchSpace((2, 2), admits=lambda a: a[0] == 0, fallback=(0,)),
            "fallback: got an array of shape",
        ),
        (
            lambda: SearchSpace((2, 2), admits=lambda a: a[0] == 0, fallback=(1, 0)),
            "fallback: got .*within the limits",
        ),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_codes_count_all_architectures():
    grid = np.stack(np.meshgrid(*map(np.arange, (2, 3, 4)), indexing="ij"), axis=-1).reshape(-1, 3)
    codes = code_of(jnp.asarray(grid, jnp.int32), (2, 3, 4))
    np.testing.assert_array_equal(codes, np.arange(24))
    with pytest.raises(InputError, match="2\\^31"):
        code_of(jnp.zeros((1, 40), jnp.int32), (4,) * 40)
