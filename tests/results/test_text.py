import pytest

from jaxntk.results import text


@pytest.mark.parametrize(
    ("value", "n", "expected"),
    [
        (0.4267, 300, "0.43"),
        (-0.4267, 300, "−0.43"),  # noqa: RUF001
        (0.4267, 15625, "0.427"),
        (-0.001, 300, "0.00"),
        (-0.001, 15625, "−0.001"),  # noqa: RUF001
        (1, 5, "1.00"),
        (None, 300, "–"),  # noqa: RUF001
    ],
)
def test_number(value, n, expected):
    assert text.number(value, n) == expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [([-0.1, 0.2], "−0.10 to 0.20"), (None, "–")],  # noqa: RUF001
)
def test_interval(bounds, expected):
    assert text.interval(bounds, 300) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0123, "0.0123 s"), (59.96, "60 s"), (60, "1 min 0 s"), (3599.9, "1 h 0 min"), (None, "–")],  # noqa: RUF001
)
def test_seconds(value, expected):
    assert text.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 MiB"), (5 * 2**20, "5 MiB"), (2**30, "1 GiB"), (None, "–")],  # noqa: RUF001
)
def test_size(value, expected):
    assert text.size(value) == expected
