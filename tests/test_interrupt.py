"""Ctrl-C ends a process with one line and exit code 130, whatever goes on in it."""

import signal

import pytest

from jaxntk import __version__
from tests.tiny_runs import MAIN, finish, process, write_experiment

# Says so if Python shuts down as usual, which XLA's threads need not survive.
TELLING = "import atexit; atexit.register(print, 'shut down')"

SCRIPT = """
import sys, time
from jaxntk.runs.script import exit_code

def run():
    print("begun", flush=True)
    time.sleep(60)

sys.exit(exit_code(run))
"""

# Ctrl-C as soon as the named package is imported, which takes seconds.
IMPORTING = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Impatient(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "jax":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
from jaxntk.__main__ import main
sys.exit(main())
"""

# Ctrl-C once more, while the line is written.
TWICE = """
import io, os, signal, sys
from jaxntk.interrupt import exit_at_interrupt

class Impatient(io.StringIO):
    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)
        return sys.__stderr__.write(text)

def run():
    sys.stderr = Impatient()
    raise KeyboardInterrupt

sys.exit(exit_at_interrupt(run, "stopped"))
"""

# Python that the garbage collector calls, as JAX has it: what is raised there comes to nothing.
COLLECTED = """
import gc, os, signal, sys, time
from jaxntk.interrupt import exit_at_interrupt

def interrupted(phase, _):
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.SIGINT)

def run():
    gc.callbacks.append(interrupted)
    gc.collect()
    begun = time.monotonic()
    try:
        time.sleep(20)
    finally:
        if time.monotonic() - begun > 15:
            print("late")

sys.exit(exit_at_interrupt(run, "stopped"))
"""

# Whoever reads the output has been stopped as well.
PIPED = """
import io, sys
from jaxntk.interrupt import exit_at_interrupt

class Gone(io.StringIO):
    def flush(self):
        raise BrokenPipeError

def run():
    sys.stdout = Gone()
    raise KeyboardInterrupt

sys.exit(exit_at_interrupt(run, "stopped"))
"""


def interrupted(running, awaited):
    """Sends Ctrl-C after a line with some words; returns exit code and both outputs."""
    seen = ""
    for line in running.stdout:
        seen += line
        if awaited in line:
            break
    running.send_signal(signal.SIGINT)
    code, out, err = finish(running)
    return code, seen + out, err


def test_a_compilation_is_left_at_once(tmp_path):
    arguments = ["run", write_experiment(tmp_path), "--out", tmp_path / "run"]
    # Other tests have compiled the same.
    alone = {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_DISABLE_MOST_OPTIMIZATIONS": "false"}
    running = process(arguments, f"{TELLING}\n{MAIN}", env=alone)
    code, out, err = interrupted(running, "compiling, once for all")
    assert (code, err) == (130, "jaxntk: stopped; the same command goes on from here\n")
    assert "compiling, once for all" in out
    assert "shut down" not in out


def test_a_script_is_left_at_once():
    code, out, err = interrupted(process([], f"{TELLING}\n{SCRIPT}"), "begun")
    assert (code, out, err) == (130, "begun\n", "interrupted; the same command goes on\n")


def test_an_import_is_left_at_once():
    expected = (130, "", "jaxntk: stopped before anything was begun\n")
    assert finish(process(["--version"], IMPORTING)) == expected


def test_the_module_is_the_program():
    module = "import runpy; runpy.run_module('jaxntk', run_name='__main__', alter_sys=True)"
    code, out, err = finish(process(["--version"], module))
    assert (code, out, err) == (0, f"jaxntk {__version__}\n", "")


@pytest.mark.parametrize("program", [TWICE, COLLECTED, PIPED])
def test_no_traceback_and_no_interrupt_is_lost(program):
    assert finish(process([], program)) == (130, "", "stopped\n")


def test_other_ends_are_what_they_were():
    ends = "from jaxntk.interrupt import exit_at_interrupt as run; raise SystemExit(run({}, ''))"
    assert finish(process([], ends.format("lambda: 2"))) == (2, "", "")
    code, _, err = finish(process([], ends.format("lambda: 1 / 0")))
    assert code == 1
    assert "ZeroDivisionError" in err
