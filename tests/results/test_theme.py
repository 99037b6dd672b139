import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxntk.results import theme


@pytest.fixture
def svg():
    figure = Figure(figsize=(3, 2))
    ax = figure.subplots()
    ax.scatter([0, 1], [0, 1], color=theme.METRIC)
    ax.imshow(np.eye(2), interpolation="none")
    ax.set_title('<script>alert("x")</script>', color=theme.INK)
    return theme.inline_svg(figure, key="one", label='a "label" <b>')


def test_it_is_an_element_that_needs_nothing_else(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.attrib == {"viewBox": "0 0 216 144", "role": "img", "aria-label": 'a "label" <b>'}
    assert "http" not in svg
    assert "xmlns" not in svg
    assert "<style" not in svg
    assert "metadata" not in svg
    assert "DejaVu" not in svg


def test_words_stay_words_and_are_escaped(svg):
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_every_reference_has_its_target_under_the_key(svg):
    root = ElementTree.fromstring(svg)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    wanted = {
        *re.findall(r"url\(#([\w-]+)\)", svg),
        *re.findall(r'href="#([\w-]+)"', svg),
    }
    assert wanted
    assert set(ids) == wanted
    assert len(ids) == len(set(ids))
    assert all(identity.startswith("one-") for identity in ids)


def test_colours_follow_the_page(svg):
    assert "fill: var(--metric)" in svg
    assert "var(--ink)" in svg
    assert theme.METRIC not in svg


def luminance(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", sorted(set(theme.PALETTE) - {"--surface", "--faint"}))
def test_contrast_on_the_surface(name, scheme):
    """WCAG 2.2 asks 4.5 of text and 3 of graphics; only the word on absent edges is faint."""
    surface, colour = theme.PALETTE["--surface"][scheme], theme.PALETTE[name][scheme]
    low, high = sorted((luminance(surface), luminance(colour)))
    floor = {"--op-none": 2.4, "--baseline": 3.0}.get(name, 4.5)
    assert (high + 0.05) / (low + 0.05) >= floor


def test_colours_of_the_figures_are_all_different():
    light = [colour for colour, _ in theme.PALETTE.values()]
    assert len(set(light)) == len(light)
    assert set(theme.OPERATION_COLOURS.values()) <= set(light)
