"""How a process ends after Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""
MOMENT = 0.05
"""Seconds until an interrupt that was lost is raised again."""


def exit_at_interrupt(run: Callable[[], int], stopped: str) -> int:
    """Runs what a process is there for; Ctrl-C ends the process with one line and exit code 130.

    What Ctrl-C breaks off in Python goes on in XLA's threads. Were Python to shut down as usual,
    a compilation would at its end use the devices that are gone by then, and the process would die
    of a segmentation fault. So the process is left at once, by ``os._exit``; files need no more
    than that, as each row and each file is on disk when the call that writes it returns.

    Args:
        run: returns the exit code.
        stopped: said on standard error after Ctrl-C.

    Returns:
        The exit code of `run`; does not return after Ctrl-C.
    """
    usual = sys.unraisablehook
    sys.unraisablehook = partial(_raise_again, usual)
    try:
        return run()
    except KeyboardInterrupt:
        # A second Ctrl-C would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Whoever read the output may have been stopped as well (`| tee`).
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            print(stopped, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    finally:
        sys.unraisablehook = usual


def _raise_again(usual: Callable[[Any], object], lost: Any) -> None:
    """Raises an interrupt a moment later that fell where nothing can be raised.

    JAX has the garbage collector call Python, often on the way out of a compilation that a signal
    waits for; Python prints and forgets what is raised there, and the run would go on.
    """
    if lost.exc_type is KeyboardInterrupt:
        # A signal, unlike _thread.interrupt_main, also ends a call that blocks.
        again = (threading.main_thread().ident, signal.SIGINT)
        threading.Timer(MOMENT, signal.pthread_kill, again).start()
    else:
        usual(lost)
