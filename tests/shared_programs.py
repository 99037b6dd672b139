"""Runs of one configuration that share what is compiled: tracing a network again takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


@contextmanager
def shared_programs(module: ModuleType, *makers: str) -> Iterator[None]:
    """Lets functions that make programs make them once a configuration.

    Args:
        module: that looks the functions up by name.
        makers: names of functions whose first argument has a ``config``, and whose result depends
            on nothing else.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in makers:
            patch.setattr(module, name, _once(getattr(module, name)))
        yield


def _once(make: Any) -> Any:
    kept: dict[Any, Any] = {}

    def once(study: Any, *rest: Any) -> Any:
        if study.config not in kept:
            kept[study.config] = make(study, *rest)
        return kept[study.config]

    return once
