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
    assert names == ["evolution", "best there is", "a random one"]


def test_what_is_not_known_is_not_in_the_mean():
    values = np.array([[np.nan, 1.0, 2.0], [0.5, 0.5, 0.5]])
    figure = search_figure({"random": Curves(values)}, {}, "score")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.5, 0.75, 1.25])
    none = search_figure({"random": Curves(np.full((2, 3), np.nan))}, {}, "score")
    assert len(none.axes[0].lines[0].get_xdata()) == 0


def test_a_transformer_has_a_bar_a_head():
    figure = transformer_figure((8, 8, 16), (1, 2, 4), (8, 32, 64), "three blocks")
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [8, 8, 32, 4, 4, 64, 4, 4, 4, 4]
