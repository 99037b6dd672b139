"""What the tests of studies share."""

from tests.shared_runs import (  # noqa: F401
    experiment,
    finished,
    table,
)
