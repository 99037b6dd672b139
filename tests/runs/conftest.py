"""What the tests of runs share."""

from tests.made_up_run import make_run  # noqa: F401
from tests.shared_runs import (  # noqa: F401
    experiment,
    finished,
    table,
)
