"""What is compiled once for a function and remembered for further calls."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

REMEMBERED = 128
"""Compiled kernels that are kept for further calls."""

_compiled: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


def compiled_once(
    key: Hashable, make: Callable[[], Any], keep: Callable[[Any], bool] = lambda made: True
) -> Any:
    """Returns what was made for a key before, or makes it.

    Args:
        key: of a program.
        make: compiles it.
        keep: whether what was made is to be remembered.

    Returns:
        What ``make`` returned for this key.
    """
    with _lock:
        if key in _compiled:
            _compiled.move_to_end(key)
            return _compiled[key]
    made = make()
    if keep(made):
        with _lock:
            _compiled[key] = made
            while len(_compiled) > REMEMBERED:
                _compiled.popitem(last=False)
    return made


def clear_caches() -> None:
    """Forgets the compiled kernels, and with them the arrays that their functions close over.

    The last 128 programs are remembered. ``jax.clear_caches`` does not know of them.
    """
    with _lock:
        _compiled.clear()
