"""The one error a user's input can raise: it names the argument, what it got and the cure."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, told in one line.

    Args:
        argument: the name of the argument, field or file at fault.
        got: what it was given.
        cure: what would be accepted, or what to do.

    Example:
        >>> str(InputError("num_images", "1", "give at least 2"))
        'num_images: got 1; give at least 2'
    """

    def __init__(self, argument: str, got: object, cure: str) -> None:
        self.argument = argument
        self.got = str(got)
        self.cure = cure
        line = f"{argument}: got {self.got}; {cure}"
        super().__init__(" ".join(line.split()))


FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What code raises on a function that it does not know how to take apart."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Returns a suggestion to append to an error line, or nothing.

    Args:
        name: what was given.
        options: the names that exist.

    Returns:
        ``"; did you mean 'x'?"`` for the closest option, or ``""`` where none is close.

    Example:
        >>> did_you_mean("skip_conect", ["none", "skip_connect"])
        "; did you mean 'skip_connect'?"
    """
    close = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def check_choice(argument: str, given: str, options: Iterable[str]) -> None:
    """Refuses a name that is none of those there are.

    Args:
        argument: the name of the argument or field.
        given: what it was given.
        options: the names that exist.

    Raises:
        InputError: ``given`` is none of them.

    Example:
        >>> check_choice("outputs", "summ", ["sum", "trace"])
        Traceback (most recent call last):
        ...
        jaxntk.errors.InputError: outputs: got 'summ'; choose from sum, trace; did you mean 'sum'?
    """
    known = list(options)
    if given not in known:
        cure = f"choose from {', '.join(known)}{did_you_mean(str(given), known)}"
        raise InputError(argument, repr(given), cure)
