"""Score and ranks: no failed score is ever mistaken for a good one."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.metrics import Score, Status, ranking_values

FAILED = [status for status in Status if status is not Status.OK]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALID_SCORES = st.builds(Score.of, FINITE)
SCORES = st.one_of(VALID_SCORES, st.sampled_from(FAILED).map(Score.invalid))


@given(score=SCORES)
def test_json_round_trip(score):
    text = json.dumps(score.to_json(), allow_nan=False)
    assert Score.from_json(json.loads(text)) == score


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_no_valid_score(value):
    assert Score.of(value) == Score.invalid(Status.NONFINITE)
    with pytest.raises(InputError, match="status ok needs a finite value"):
        Score(value, Status.OK)


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_score_has_no_value(status):
    score = Score.invalid(status)
    assert not score.valid
    assert math.isnan(score.value)
    assert score == Score(float("nan"), status)
    assert hash(score) == hash(Score(float("nan"), status))
    assert score.to_json() == {"value": None, "status": status.value}
    with pytest.raises(InputError, match="has none"):
        Score(1e5, status)


def test_scores_differ_by_value_and_by_status():
    scores = [Score.of(0.0), Score.of(1.0), *(Score.invalid(status) for status in FAILED)]
    assert len(set(scores)) == len(scores)
    assert Score.of(0.0) != 0.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"value": None, "status": "ok"}, "value: got nan; a score with status ok"),
        ({"value": 3.0, "status": "zero_kernel"}, "value: got 3.0; a score with status"),
        ({"value": None, "status": "zero_kernal"}, "did you mean 'zero_kernel'"),
        ({"value": "3", "status": "ok"}, "value: got '3'; give a number or null"),
        ({"value": 3.0}, "exactly the keys value and status"),
    ],
)
def test_a_damaged_row_is_refused(row, message):
    with pytest.raises(InputError) as error:
        Score.from_json(row)
    assert message in str(error.value)


@pytest.mark.parametrize("higher_is_better", [True, False])
@given(scores=st.lists(SCORES, max_size=12))
def test_ranks_order_valid_scores_and_put_invalid_ones_last(higher_is_better, scores):
    ranks = ranking_values(scores, higher_is_better)
    assert ranks.shape == (len(scores),)
    assert np.all(np.isfinite(ranks))
    sign = 1 if higher_is_better else -1
    for a, rank_a in zip(scores, ranks, strict=True):
        for b, rank_b in zip(scores, ranks, strict=True):
            if a.valid and b.valid:
                order = int(a.value > b.value) - int(a.value < b.value)
                assert np.sign(rank_a - rank_b) == sign * order, (a, b)
            elif a.valid:
                assert rank_a > rank_b, (a, b)
            elif not b.valid:
                assert rank_a == rank_b, (a, b)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("extreme", [1.7e308, -1.7e308, 5e-324, 1e19])
def test_no_valid_value_is_too_extreme_to_be_above_an_invalid_one(higher_is_better, extreme):
    scores = [Score.of(extreme), Score.invalid(Status.ZERO_KERNEL), Score.of(0.0)]
    ranks = ranking_values(scores, higher_is_better)
    assert ranks[1] < min(ranks[0], ranks[2]), ranks


def test_ties_share_a_rank_and_nothing_gives_nothing():
    np.testing.assert_array_equal(
        ranking_values([Score.of(2.0), Score.of(1.0), Score.of(2.0)], higher_is_better=True),
        [2.5, 1.0, 2.5],
    )
    assert ranking_values([], higher_is_better=True).shape == (0,)
