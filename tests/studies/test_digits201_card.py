"""The data card reads its figures off the table it is given."""

import dataclasses

import numpy as np

from jaxntk.data.digits201 import load_digits201
from jaxntk.studies.digits201_card import card


def test_the_card_of_the_shipped_table():
    lines = card(load_digits201())
    assert lines["functions"] == "4930, 4929 of them connect input and output"
    assert lines["trainings"] == "15690, 0 of them not finite"
    ceilings = [value for name, value in lines.items() if name.startswith("ceiling")]
    assert len(ceilings) == 4
    assert float(ceilings[-1].split()[0]) > 0.6, ceilings


def test_a_table_whose_seeds_say_the_same_has_a_ceiling_of_one():
    table = load_digits201()
    trainings = table.trainings
    same = np.repeat(trainings.subject[:, None] % 900, trainings.epochs, axis=1)
    right = dict.fromkeys(("train", "valid", "test"), same)
    alike = dataclasses.replace(trainings, right=right)
    lines = card(dataclasses.replace(table, trainings=alike))
    ceilings = [value for name, value in lines.items() if name.startswith("ceiling")]
    assert all(float(value.split()[0]) == 1 for value in ceilings), ceilings
    assert lines["standard deviation between trainings"] == "0.00 %"
