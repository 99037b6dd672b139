"""What the benchmarks share: the command that measures the same, times in turns, memory."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import measure
from benchmarks.measure import command_line, compile_call, run_seconds


@dataclass(frozen=True, kw_only=True)
class Options:
    case: str
    images: tuple[int, ...] = (1, 2)
    quick: bool = False
    slow: bool = True
    out: Path = Path("a.json")


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, ""),
        ({"images": (3, 5)}, " --images 3 5"),
        ({"quick": True, "slow": False}, " --quick --no-slow"),
        ({"out": Path("/elsewhere/b.json")}, ""),
    ],
)
def test_the_command_names_what_is_not_the_default_and_no_path(changes, flags):
    line = command_line("python -m benchmarks.x", Options(case="a b", **changes))
    assert line == f"python -m benchmarks.x --case 'a b'{flags}"


def test_a_compiled_call_gives_the_value_and_says_what_it_holds():
    measured = compile_call(lambda x: x + 1, jnp.zeros(1000, jnp.float32))
    assert measured.call().tolist() == [1.0] * 1000
    assert measured.memory_bytes >= 2 * 4000
    assert measured.compile_seconds > 0


def test_calls_are_timed_in_turns_as_often_as_asked():
    order = []
    times = run_seconds({name: lambda name=name: order.append(name) for name in "ab"}, repeats=3)
    assert order[:2] == list("ab"), "the first call of each is not timed"
    turns = [set(order[at : at + 2]) for at in range(2, len(order), 2)]
    assert turns == [set("ab")] * 3
    assert all(len(each) == 3 and min(each) >= 0 for each in times.values())


def test_slow_calls_are_timed_once_after_all_others(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def call(name, seconds):
        order.append(name)
        clock[0] += seconds

    seconds = {"slow": 100.0, "quick": 1.0}
    calls = {name: partial(call, name, each) for name, each in seconds.items()}
    times = run_seconds(calls, repeats=2)
    # Once untimed, and the quick one again, as it came after the slow one.
    assert order == ["slow", "quick", "quick", "quick", "quick", "slow"]
    assert times == {"slow": [100.0], "quick": [1.0, 1.0]}
