"""The data card reads its figures off the table it is given."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from jaxntk.data.digits201 import load_digits201
from jaxntk.studies.tables.card import reachable
from jaxntk.studies.tables.digits201_card import card


def test_the_card_of_the_shipped_table():
    lines = card(load_digits201())
    assert lines["functions"] == "4930, 4929 of them connect input and output"
    assert lines["trainings"] == "15690, 0 of them not finite"
    agreements = [value for name, value in lines.items() if name.startswith("agreement")]
    assert len(agreements) == 4
    assert float(agreements[-1].split()[0]) > 0.6, agreements
    (ceiling,) = (value for name, value in lines.items() if name.startswith("ceiling"))
    assert float(ceiling) > float(agreements[-1].split()[0])


def test_the_ceiling_is_what_a_score_without_noise_reaches():
    """Normal truths and readings of the table's size, of the agreement that the table has."""
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=4930), rng.normal(size=(2, 4930))
    one, other = truth + 0.45 * noise
    agreement = scipy.stats.kendalltau(one, other).statistic
    wanted = scipy.stats.kendalltau(truth, one).statistic
    assert reachable(agreement) == pytest.approx(wanted, abs=0.02)


def test_a_table_whose_seeds_say_the_same_has_a_ceiling_of_one():
    table = load_digits201()
    trainings = table.trainings
    same = np.repeat(trainings.subject[:, None] % 900, trainings.epochs, axis=1)
    right = dict.fromkeys(("train", "valid", "test"), same)
    alike = dataclasses.replace(trainings, right=right)
    lines = card(dataclasses.replace(table, trainings=alike))
    found = {name: value for name, value in lines.items() if name[:5] in ("agree", "ceili")}
    assert len(found) == 5
    assert all(float(value.split()[0]) == 1 for value in found.values()), found
    assert lines["standard deviation between trainings"] == "0.00 %"
