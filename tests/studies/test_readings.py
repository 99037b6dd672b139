"""Scores by their names."""

import pytest

from jaxntk.errors import InputError
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.readings import Reading, parse_reading

CELLS, TRANSFORMERS = SPACES["nasbench201"], SPACES["digits-vit"]
CONTENT = "patch_content:sigma=1:features=16/sum"


@pytest.mark.parametrize(
    ("text", "space", "wanted"),
    [
        ("lga_centred@3", CELLS, Reading("lga_centred", "ntk", 3)),
        ("lga_centred", CELLS, Reading("lga_centred", "ntk", 0)),
        ("lga@ntk", TRANSFORMERS, Reading("lga", "ntk", 0)),
        ("lga@ntk@3", TRANSFORMERS, Reading("lga", "ntk", 3)),
        ("lga@bands:num=4/sum", TRANSFORMERS, Reading("lga", "bands:num=4/sum", 0)),
        ("trace@patch_content:sigma=1/sum", TRANSFORMERS, Reading("trace", CONTENT, 0)),
        (
            "trace@pixel_values:sigma=1/sum@0",
            CELLS,
            Reading("trace", "pixel_values:sigma=1:features=16/sum", 0),
        ),
        ("valid_accuracy@0", CELLS, Reading("valid_accuracy", None, 0)),
        ("loss@2", TRANSFORMERS, Reading("loss", None, 2)),
        ("params", CELLS, Reading("params")),
        ("live_params", CELLS, Reading("live_params")),
        ("depth", TRANSFORMERS, Reading("depth")),
        ("table:digits201/valid", CELLS, Reading("table:digits201/valid")),
        ("table:mine.csv:top1", TRANSFORMERS, Reading("table:mine.csv:top1")),
    ],
)
def test_scores_are_read(text, space, wanted):
    assert parse_reading(text, space) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "goals: got ''"),
        ("lgo", "goals: got 'lgo'.*did you mean 'lga'"),
        ("lga@", "goals: got lga@; name a kernel"),
        ("lga@@3", "name a kernel"),
        ("lga@3@ntk", "METRIC@EPOCHS"),
        ("lga@ntk@3@4", "METRIC@EPOCHS"),
        ("lga@-1", "name a kernel"),
        ("lga@bands:num=2/sum@3", "trained weights are of images"),
        ("lga@bands:num=2/product:0.5,1", "give whole powers"),
        ("lga@somewhere/sum", "goals: got lga@somewhere/sum .where: 'somewhere'"),
        ("depth", "goals: got 'depth'"),
        ("params@3", "write params"),
        ("params@ntk", "write params"),
        ("loss", "say after how many epochs"),
        ("loss@ntk", "say after how many epochs"),
        ("loss@ntk@3", "say after how many epochs"),
        ("train_accuracy@0", "at least one epoch"),
        ("table:digits_vit/valid", "goals: got 'digits_vit/valid'"),
    ],
)
def test_what_is_no_score_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        parse_reading(text, CELLS)


def test_lower_is_better_where_it_is():
    found = {
        text: parse_reading(text, CELLS).higher_is_better
        for text in (
            "lga@3",
            "condition_number",
            "loss@1",
            "loss_sum@1",
            "valid_accuracy@1",
            "params",
        )
    }
    assert found == {
        "lga@3": True,
        "condition_number": False,
        "loss@1": False,
        "loss_sum@1": False,
        "valid_accuracy@1": True,
        "params": True,
    }
