"""The page on kernel dynamics: a column a cell, also where a kernel is zero."""

import numpy as np

from jaxntk.metrics import Score, Status
from jaxntk.results.kernel_dynamics_plot import kernel_dynamics_figure

NAMES = ("pearson", "cosine", "relative_change", "distance", "label_energy", "lga")


def kernel(epoch, value):
    score = Score.invalid(Status.ZERO_KERNEL) if value is None else Score.of(value)
    row = dict.fromkeys(NAMES, score.to_json())
    return row | {"velocity": score.to_json() if epoch else None}


def rows(value):
    return [
        {
            "epochs": epoch,
            "network": {"test_accuracy": 50.0 + epoch},
            "linearized": {"test_accuracy": 40.0 + epoch},
            "nonlinear_advantage": 10.0,
            "kernels": {name: kernel(epoch, value) for name in ("network", "stem", "stage_1")},
            "eigenvectors_on_labels": None if value is None else [0.5, 0.25],
        }
        for epoch in (0, 1, 4)
    ]


CELLS = {"bad": rows(None), "good": rows(0.5)}
TITLES = {"bad": "bad: 10 %", "good": "good: 90 %"}


def test_a_column_a_cell():
    figure = kernel_dynamics_figure(CELLS, TITLES)
    panels = figure.axes[:10]
    assert [ax.get_title(loc="left") for ax in panels[:2]] == list(TITLES.values())
    lines = {line.get_label(): line.get_ydata() for line in panels[1].get_lines()}
    assert list(lines["network"]) == [50.0, 51.0, 54.0]
    assert list(lines["linearized"]) == [40.0, 41.0, 44.0]
    assert any("+10.0" in text.get_text() for text in panels[1].texts)


def test_layers_are_a_picture_and_a_zero_kernel_is_a_gap():
    figure = kernel_dynamics_figure(CELLS, TITLES)
    bad, good = (np.ma.filled(ax.images[0].get_array(), np.nan) for ax in figure.axes[8:10])
    assert bad.shape == good.shape == (2, 3)
    assert np.isnan(bad).all()
    assert (good == 0.5).all()
    labels = [text.get_text() for text in figure.axes[8].get_yticklabels()]
    assert labels == ["stem", "stage 1"]


def test_one_cell_alone():
    assert kernel_dynamics_figure({"good": CELLS["good"]}, TITLES).axes
