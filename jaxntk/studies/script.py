"""How an experiment with a command line of its own ends."""

import sys
from collections.abc import Callable

from jaxntk.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130


def exit_code(run: Callable[[], object], stopped: str = "the same command goes on") -> int:
    """Runs an experiment; bad input and Ctrl-C give one line on standard error.

    Args:
        run: the experiment.
        stopped: what is said after Ctrl-C.

    Returns:
        0, 2 after bad input, 130 after Ctrl-C.
    """
    try:
        run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"interrupted; {stopped}", file=sys.stderr)
        return INTERRUPTED
    return 0
