"""What a score adds: nothing where it repeats, something where it knows more."""

import numpy as np
import pytest
import scipy.stats

from jaxntk.errors import InputError
from jaxntk.results.partial_correlation import (
    Gain,
    fitted_ranking,
    gain,
    partial_correlation,
    rank_together,
    simultaneous_lower,
)

N = 300


@pytest.fixture
def scores():
    """A score, the truth and the size: score and truth are independent given the size."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=N)
    return size + rng.normal(size=N), size + rng.normal(size=N), size


def normal_scores(array):
    return scipy.stats.norm.ppf((scipy.stats.rankdata(array) - 0.5) / len(array))


def test_partial_is_the_correlation_of_what_is_left(scores):
    """The textbook's other definition: correlation of residuals of two regressions."""
    x, y, g = (normal_scores(score) for score in scores)
    left = [each - np.polyval(np.polyfit(g, each, 1), g) for each in (x, y)]
    wanted = np.corrcoef(*left)[0, 1]
    found = partial_correlation(*scores)
    assert found.value == pytest.approx(wanted, rel=1e-9)
    low, high = found.ci95
    assert low < wanted < high


def test_what_is_independent_given_the_size_has_a_partial_near_zero():
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        size = rng.normal(size=N)
        noisy = [size + 0.5 * rng.normal(size=N) for _ in range(2)]
        assert scipy.stats.kendalltau(*noisy)[0] > 0.4
        low, high = partial_correlation(*noisy, size, resamples=400).ci95
        values.append(low < 0 < high)
    assert sum(values) >= 16, values


def test_a_given_score_has_none_itself(scores):
    x, y, size = scores
    assert partial_correlation(size, y, size).value is None
    for arguments in ((0 * x, y, size), (x, 0 * y, size), (x, y, 0 * size)):
        assert partial_correlation(*arguments).value is None


def test_few_cells_have_no_interval():
    arrays = [np.array(each, float) for each in ([1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4])]
    assert partial_correlation(*arrays).ci95 is None
    assert gain(*arrays[:2], arrays[2:]).tau is None


def test_ranks_together_do_not_depend_on_scales(scores):
    x, y, _ = scores
    assert np.array_equal(rank_together(x, y), rank_together(np.exp(x), 3 * y))


def test_a_single_score_keeps_its_order_and_a_bad_one_is_turned(scores):
    _, y, size = scores
    for sign in (1, -1):
        ranked = fitted_ranking([sign * size], y)
        assert scipy.stats.spearmanr(ranked, size)[0] == pytest.approx(1.0)


def test_gain_is_the_difference_of_two_taus(scores):
    x, y, size = scores
    taus = [scipy.stats.kendalltau(fitted_ranking(s, y), y)[0] for s in ([size, x], [size])]
    found = gain(x, y, [size])
    assert found.tau == pytest.approx(taus[0] - taus[1], rel=1e-12)
    low, high = found.ci95
    assert low < found.tau < high


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_copy_of_what_is_given_gains_nothing(noise):
    """Also a noisy copy of the better of two, which a mean of ranks would be moved towards."""
    above = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=N)
        loss, size = y + 0.4 * rng.normal(size=N), y + 1.0 * rng.normal(size=N)
        copy = loss + noise * rng.normal(size=N)
        found = gain(copy, y, [size, loss], resamples=400)
        assert abs(found.tau) < 0.01, (seed, found.tau)
        above.append(found.ci95[0] > 0)
    assert sum(above) <= 1, above


def test_what_knows_more_gains(scores):
    _, y, size = scores
    better = y + 0.5 * np.random.default_rng(5).normal(size=N)
    found = gain(better, y, [size])
    assert found.tau > 0.1
    assert found.ci95[0] > 0


def test_copies_of_cells_say_no_more_than_the_cells(scores):
    """Every cell four times in a group of its own: no fold knows a cell by its copy."""
    _, y, size = scores
    better = y + 0.8 * np.random.default_rng(5).normal(size=N)
    groups = np.repeat(np.arange(N), 4)
    copies = [np.repeat(each, 4) for each in (better, y, size)]
    alone, copied = gain(better, y, [size]), gain(*copies[:2], copies[2:], groups=groups)
    assert np.ptp(copied.ci95) == pytest.approx(np.ptp(alone.ci95), rel=0.25)
    loose = gain(*copies[:2], copies[2:])
    assert np.ptp(loose.ci95) < 0.7 * np.ptp(alone.ci95)
    partials = [
        partial_correlation(*each, groups=of)
        for each, of in (((better, y, size), None), (copies, groups))
    ]
    assert partials[1].value == pytest.approx(partials[0].value, abs=0.01)
    assert np.ptp(partials[1].ci95) == pytest.approx(np.ptp(partials[0].ci95), rel=0.2)


def test_folds_keep_groups_together():
    """What only a copy could tell is not predicted."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.normal(size=30), 5)
    groups = np.repeat(np.arange(30), 5)
    markers = [(groups == group).astype(float) for group in range(30)]
    taus = [
        scipy.stats.kendalltau(fitted_ranking(markers, y, groups=each), y)[0]
        for each in (None, groups)
    ]
    assert taus[0] > 0.8, taus
    assert taus[1] < 0.6, taus


def test_what_is_constant_changes_nothing_and_alone_is_no_ranking(scores):
    x, y, _ = scores
    assert gain(0 * x, y, [x]).tau == pytest.approx(0.0, abs=1e-12)
    assert gain(0 * x, y, [0 * x]).tau is None


def test_bounds_of_many_are_lower_than_of_one_and_the_luckiest_of_noise_is_not_above_zero():
    rng = np.random.default_rng(3)
    y = rng.normal(size=N)
    size = y + rng.normal(size=N)
    gains = [gain(rng.normal(size=N), y, [size], resamples=400) for _ in range(30)]
    (alone,) = simultaneous_lower(gains[:1])
    together = simultaneous_lower(gains)
    assert together[0] < alone < gains[0].tau
    assert max(together) < 0, together
    real = gain(y, y, [size], resamples=400)
    assert simultaneous_lower([*gains, real])[-1] > 0


def test_resamples_without_a_tau_do_not_count():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, 1000)) + 3
    (wanted,) = simultaneous_lower([Gain(3.0, (1.0, 5.0), drawn[0])])
    with_nan = np.concatenate([drawn[0], [np.nan, np.nan]])
    (found,) = simultaneous_lower([Gain(3.0, (1.0, 5.0), with_nan)])
    assert found == pytest.approx(wanted, abs=1e-6)


def test_gains_without_an_interval_have_no_bound():
    constant = Gain(0.0, (0.0, 0.0), np.zeros(50))
    assert simultaneous_lower([Gain(None, None), constant]) == [None, None]
    assert simultaneous_lower([]) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([1.0, np.inf, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), "values"),
        (([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, np.nan, 3.0]), "given"),
    ],
)
def test_bad_input_is_named(arguments, named):
    values, truth, given = (np.array(each) for each in arguments)
    with pytest.raises(InputError, match=named):
        partial_correlation(values, truth, given)
    with pytest.raises(InputError, match=named):
        gain(values, truth, [given])


def test_too_few_resamples_are_refused(scores):
    with pytest.raises(InputError, match="resamples"):
        partial_correlation(*scores, resamples=3)
    with pytest.raises(InputError, match="resamples"):
        gain(*scores[:2], [scores[2]], resamples=3)
