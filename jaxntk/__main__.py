"""The program ``jaxntk``, or ``python -m jaxntk``; Ctrl-C is one line from the first import on."""

import sys

from jaxntk.interrupt import exit_at_interrupt


def main() -> int:
    """Runs the command line of this process.

    Returns:
        The exit code, as of :func:`jaxntk.cli.main`.
    """
    return exit_at_interrupt(_run, "jaxntk: stopped before anything was begun")


def _run() -> int:
    # Imports take seconds, in which a user may find that something else was meant.
    from jaxntk.cli import main as answer

    return answer()


if __name__ == "__main__":
    sys.exit(main())
