"""What the tests of results share."""

from tests.made_up_run import make_run  # noqa: F401
