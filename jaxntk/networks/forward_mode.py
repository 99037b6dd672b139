"""Whether functions with a derivative of their own are plain ones for the moment."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

_forward_mode = ContextVar("forward_mode", default=False)


def forward_mode() -> AbstractContextManager[None]:
    """Makes functions with a derivative of their own plain ones, which JAX differentiates itself.

    JAX has no forward mode through a rule for the reverse mode. What needs it (Jacobian-vector
    products, linearisation) is traced inside this context; no kernel is read off there. A function
    that was jitted and called outside keeps the trace it has: what is to be traced in both modes
    goes without a ``jit`` of its own.

    Returns:
        The context.
    """
    return _mode(True)


def in_forward_mode() -> bool:
    """Tells whether this is inside :func:`forward_mode`.

    Returns:
        Whether it is.
    """
    return _forward_mode.get()


def always_in(forward: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """Fixes the mode of a function, whenever it is traced.

    A backward pass is traced when it is needed, which may be inside :func:`forward_mode` for a
    function that was called outside; its trace would be kept and met again outside.

    Args:
        forward: whether its operations are plain ones.
        function: the function.

    Returns:
        The function in that mode.
    """
    return _mode(forward)(function)


@contextmanager
def _mode(forward: bool) -> Iterator[None]:
    token = _forward_mode.set(forward)
    try:
        yield
    finally:
        _forward_mode.reset(token)
