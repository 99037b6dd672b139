import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from jaxntk.errors import InputError
from jaxntk.metrics import Score, Status, ranking_values
from jaxntk.results import correlation
from jaxntk.results.correlation import Correlation, bootstrap_kendall, correlate


def draw(num, *, noise=1.0, decimals=None, seed=0):
    """Returns correlated values and truth, with ties where they are rounded."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=num)
    truth = values + noise * rng.normal(size=num)
    if decimals is not None:
        values, truth = np.round(values, decimals), np.round(truth, decimals)
    return values, truth


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("num", [2, 3, 30, 300])
def test_agrees_with_scipy(num, decimals):
    values, truth = draw(num, decimals=decimals, seed=3)
    found = correlate(values, truth, invalid=0, resamples=100)
    assert found.kendall == pytest.approx(stats.kendalltau(values, truth).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(values, truth).statistic, abs=1e-12)
    assert (found.n, found.invalid) == (num, 0)


def test_sign_is_positive_where_the_score_agrees():
    values, truth = draw(50)
    agreeing = correlate(values, truth, invalid=0, resamples=100)
    opposing = correlate(-values, truth, invalid=0, resamples=100)
    assert agreeing.kendall > 0.3
    assert opposing.kendall == pytest.approx(-agreeing.kendall)
    assert opposing.spearman == pytest.approx(-agreeing.spearman)
    perfect = correlate(truth, truth, invalid=0, resamples=100)
    one = pytest.approx(1.0)
    assert (perfect.kendall, perfect.kendall_ci95, perfect.spearman) == (one, (one, one), one)


@pytest.mark.parametrize(("higher_is_better", "sign"), [(True, 1), (False, -1)])
def test_raw_kendall_has_the_sign_of_the_score_as_computed(higher_is_better, sign):
    score, truth = draw(80)
    good = score if higher_is_better else -score
    found = correlate(good, truth, invalid=0, resamples=100)
    row = found.to_dict(higher_is_better=higher_is_better)
    assert row["raw_kendall"] == pytest.approx(stats.kendalltau(score, truth).statistic)
    assert row["kendall"] == pytest.approx(sign * row["raw_kendall"])
    assert row["kendall_ci95"] == list(found.kendall_ci95)
    assert (row["n"], row["invalid"], row["higher_is_better"]) == (80, 0, higher_is_better)


@given(
    pair=st.integers(2, 25).flatmap(
        lambda num: st.tuples(
            hnp.arrays(np.float64, num, elements=st.integers(-3, 3).map(float)),
            hnp.arrays(np.float64, num, elements=st.integers(-3, 3).map(float)),
        )
    ),
    seed=st.integers(0, 5),
)
def test_every_resample_is_scipys_tau_of_the_drawn_cells(pair, seed):
    values, truth = pair
    taus = bootstrap_kendall(values, truth, seed=seed, resamples=20)
    rng = np.random.default_rng(seed)
    for tau in taus:
        chosen = rng.integers(0, values.size, values.size)
        expected = stats.kendalltau(values[chosen], truth[chosen]).statistic
        assert tau == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("limit", [2048, 10])
def test_every_resample_of_groups_is_scipys_tau_of_the_drawn_cells(monkeypatch, limit):
    """By both ways of computing it."""
    monkeypatch.setattr(correlation, "PAIRWISE_LIMIT", limit)
    values, truth = draw(40, decimals=1)
    groups = np.random.default_rng(3).integers(0, 15, 40)
    groups = np.unique(groups, return_inverse=True)[1]
    taus = bootstrap_kendall(values, truth, groups=groups, seed=5, resamples=20)
    rng, num = np.random.default_rng(5), groups.max() + 1
    for tau in taus:
        chosen = np.concatenate([
            np.flatnonzero(groups == group) for group in rng.integers(0, num, num)
        ])
        wanted = stats.kendalltau(values[chosen], truth[chosen]).statistic
        assert tau == pytest.approx(wanted, abs=1e-12)


def test_copies_of_cells_do_not_narrow_an_interval():
    """Every cell four times: with groups the interval is about that of the cells themselves."""
    values, truth = draw(100)
    alone = correlate(values, truth, invalid=0, resamples=1000).kendall_ci95
    copies = [np.repeat(each, 4) for each in (values, truth)]
    groups = np.repeat(np.arange(100), 4)
    widths = [
        np.ptp(correlate(*copies, invalid=0, groups=each, resamples=1000).kendall_ci95)
        for each in (None, groups)
    ]
    assert widths[0] < 0.7 * np.ptp(alone), (widths, alone)
    assert 0.9 * np.ptp(alone) < widths[1] < 1.1 * np.ptp(alone), (widths, alone)


def test_many_cells_draw_the_same_resamples_as_few(monkeypatch):
    values, truth = draw(200, decimals=1)
    pairwise = bootstrap_kendall(values, truth, seed=7, resamples=100)
    monkeypatch.setattr(correlation, "PAIRWISE_LIMIT", 100)
    sorted_one_by_one = bootstrap_kendall(values, truth, seed=7, resamples=100)
    np.testing.assert_allclose(pairwise, sorted_one_by_one, atol=1e-12)


def test_interval_is_reproducible_and_follows_the_seed():
    values, truth = draw(60)
    first = correlate(values, truth, invalid=0, seed=1, resamples=300)
    assert correlate(values, truth, invalid=0, seed=1, resamples=300) == first
    assert correlate(values, truth, invalid=0, seed=2, resamples=300) != first


def test_interval_covers_the_true_tau():
    rho, num, trials = 0.6, 60, 200
    true_tau = 2 / np.pi * np.arcsin(rho)
    noise = np.sqrt(1 / rho**2 - 1)
    covered = 0
    for seed in range(trials):
        values, truth = draw(num, noise=noise, seed=seed)
        low, high = correlate(values, truth, invalid=0, seed=seed, resamples=400).kendall_ci95
        covered += low <= true_tau <= high
    # 200 trials at 95 % have a standard deviation of 1.5 points.
    assert 0.90 <= covered / trials <= 0.99, covered


def test_interval_narrows_with_the_number_of_cells():
    widths = []
    for num in (50, 200, 800):
        low, high = correlate(*draw(num), invalid=0, resamples=500).kendall_ci95
        widths.append(high - low)
    ratios = np.divide(widths[:-1], widths[1:])
    assert np.all((ratios > 1.5) & (ratios < 2.7)), widths


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 7.0, 7.0, 7.0, 7.0, 7.0]),
        ([1.0], [2.0]),
        ([], []),
    ],
)
def test_undefined_is_none_and_never_nan(values, truth):
    found = correlate(np.array(values), np.array(truth), invalid=0)
    assert found == Correlation(None, None, None, len(values), 0)
    assert found.to_dict(higher_is_better=False)["raw_kendall"] is None


def test_few_cells_have_a_tau_but_no_interval():
    found = correlate(np.array([1.0, 2.0]), np.array([3.0, 4.0]), invalid=0)
    assert (found.kendall, found.kendall_ci95) == (1.0, None)


def test_nearly_constant_values_have_no_interval():
    values = np.zeros(30)
    values[0] = 1.0
    found = correlate(values, np.arange(30.0), invalid=0)
    assert found.kendall is not None
    assert found.kendall_ci95 is None, "a third of the resamples never draw the one that differs"


def test_huge_and_tiny_values_keep_their_order():
    values = np.array([-1e308, 1e-300, 2e-300, 1e308, 1.7e308])
    assert correlate(values, np.arange(5.0), invalid=0).kendall == pytest.approx(1.0)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_invalid_scores_lie_at_the_bottom(higher_is_better):
    truth = np.array([10.0, 10.5, 90.0, 91.0, 92.0, 93.0])
    good = [3.0, 4.0, 5.0, 6.0]
    values = good if higher_is_better else [-value for value in good]
    scores = [Score.invalid(Status.ZERO_KERNEL)] * 2 + [Score.of(value) for value in values]
    ranks = ranking_values(scores, higher_is_better)
    found = correlate(ranks, truth, invalid=2)
    # All pairs agree but the tie of the two invalid cells: 14 of 15 pairs in tau-b.
    assert found.kendall == pytest.approx(14 / np.sqrt(14 * 15))
    at_the_top = np.where(ranks == 0, ranks.max() + 1, ranks)
    assert correlate(at_the_top, truth, invalid=2).kendall < found.kendall
    assert found.invalid == 2


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"values": np.array([1.0, np.nan, 2.0])}, "values"),
        ({"truth": np.array([1.0, np.inf, 2.0])}, "truth"),
        ({"invalid": 4}, "invalid"),
        ({"invalid": -1}, "invalid"),
        ({"resamples": 10}, "resamples"),
    ],
)
def test_bad_input_is_refused(change, argument):
    arguments = {"values": np.arange(3.0), "truth": np.arange(3.0), "invalid": 0, **change}
    with pytest.raises(InputError) as caught:
        correlate(**arguments)
    assert caught.value.argument == argument


def test_a_whole_study_takes_seconds():
    """Fifteen scores of 300 cells with 2,000 resamples: 0.5 s here, minutes with a loop."""
    values, truth = draw(300, decimals=1)
    start = time.perf_counter()
    for _ in range(15):
        correlate(values, truth, invalid=0)
    assert time.perf_counter() - start < 15


def test_the_whole_space_does_not_explode(monkeypatch):
    """The matrix of pairs of 15,625 cells would be a gigabyte; none is made."""

    def refuse(_array):
        raise AssertionError("a matrix of all pairs")

    monkeypatch.setattr(correlation, "_pair_signs", refuse)
    found = correlate(*draw(15_625, decimals=2), invalid=0, resamples=100)
    low, high = found.kendall_ci95
    assert low < found.kendall < high
    assert high - low < 0.03


def test_raw_kendall_leaves_invalid_scores_out_and_has_the_sign_of_the_score():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=40)
    condition_number = np.exp(-truth + rng.normal(size=40))
    valid = np.arange(40) >= 12
    ranks = np.where(valid, stats.rankdata(-condition_number), 0.0)
    found = correlate(ranks, truth, invalid=12).to_dict(higher_is_better=False)
    expected = stats.kendalltau(condition_number[valid], truth[valid]).statistic
    assert found["raw_kendall"] == pytest.approx(expected, abs=1e-12)
    assert found["kendall"] == pytest.approx(stats.kendalltau(ranks, truth).statistic, abs=1e-12)
    assert abs(found["kendall"]) != pytest.approx(abs(expected), abs=1e-3)


def test_raw_kendall_is_undefined_where_every_score_is_invalid():
    found = correlate(np.zeros(6), np.arange(6.0), invalid=6)
    assert found.to_dict(higher_is_better=False)["raw_kendall"] is None
