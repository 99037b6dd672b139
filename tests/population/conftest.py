"""What the tests of populations share."""

from tests.shared_runs import (  # noqa: F401
    experiment,
    finished,
    table,
)
