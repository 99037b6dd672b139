"""Curves of searches against time, and what their picture has."""

import numpy as np
import pytest

from jaxntk.results.search_plot import Curves, at_moments, search_figure
from jaxntk.results.transformer_plot import transformer_figure

VALUES = np.array([[1.0, 2.0, 5.0], [0.0, 4.0, 4.0]])
SECONDS = np.array([[1.0, 2.0, 6.0], [2.0, 3.0, 4.0]])


def test_a_search_is_worth_what_it_has_found_by_then():
    moments, found = at_moments(VALUES, SECONDS)
    assert moments[0] == 2
    assert moments[-1] == 6
    for moment, values in zip(moments, found.T, strict=True):
        wanted = [value[time <= moment][-1] for value, time in zip(VALUES, SECONDS, strict=True)]
        np.testing.assert_array_equal(values, wanted, err_msg=f"after {moment} s")


@pytest.mark.parametrize(("seconds", "panels"), [(None, 1), (SECONDS, 2)])
def test_seconds_have_a_panel_of_their_own(seconds, panels):
    levels = {"best_there_is": 6.0, "random": 1.0}
    figure = search_figure({"evolution": Curves(VALUES, seconds)}, levels, "accuracy, %")
    assert len(figure.axes) == panels
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), VALUES.mean(axis=0))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    levels = ["best there is", "a random one"]
    assert names == ["evolution", *levels, "middle half of the searches (line: their mean)"]


@pytest.mark.parametrize(
    ("num", "ticks"),
    [(3, "1 2 3"), (100, "1 2 5 10 20 50 100"), (20_000, "1 10 100 1,000 10,000")],
)
def test_numbers_of_evaluations_are_plain_and_choices_stand_until_the_next(num, ticks):
    curves = {"random": Curves(np.linspace([0.0], [1.0], num, axis=-1))}
    figure = search_figure(curves, {}, "score")
    (ax,) = figure.axes
    figure.canvas.draw()
    assert ax.lines[0].get_drawstyle() == "steps-post"
    low, high = ax.get_xlim()
    labels = [label for label in ax.xaxis.get_ticklabels(which="both") if label.get_text()]
    shown = [label.get_text() for label in labels if low <= label.get_position()[0] <= high]
    assert shown == ticks.split()
    # A single search has no middle half.
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["random"]


def test_less_than_a_decade_has_numbers_too():
    seconds = np.linspace([60.0], [140.0], 9, axis=-1)
    figure = search_figure({"random": Curves(np.zeros((1, 9)), seconds)}, {}, "score")
    ax = figure.axes[1]
    figure.canvas.draw()
    low, high = ax.get_xlim()
    shown = [label for label in ax.xaxis.get_ticklabels() if low <= label.get_position()[0] <= high]
    assert [label.get_text() for label in shown] == ["60", "80", "100", "120", "140"]


def test_what_is_not_known_is_not_in_the_mean():
    values = np.array([[np.nan, 1.0, 2.0], [0.5, 0.5, 0.5]])
    figure = search_figure({"random": Curves(values)}, {}, "score")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.5, 0.75, 1.25])
    # What chooses once, at its end, is a point.
    ends = figure.axes[0].lines[1]
    assert (ends.get_marker(), list(ends.get_xdata()), list(ends.get_ydata())) == ("o", [3], [1.25])
    none = search_figure({"random": Curves(np.full((2, 3), np.nan))}, {}, "score")
    assert len(none.axes[0].lines[0].get_xdata()) == 0


def test_a_transformer_has_a_bar_a_head():
    figure = transformer_figure((8, 8, 16), (1, 2, 4), (8, 32, 64), "three blocks")
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [8, 8, 32, 4, 4, 64, 4, 4, 4, 4]
