"""Runs neural-tangents' own empirical tests on neural-tangents as this project imports it.

    python tests/kernels/neural_tangents_suite.py [options of pytest]

Its wheel brings them along. About half of them skip themselves on CPUs because they take long;
here they run. Started as a script, not collected: both packages of tests are called ``tests``, and
only one can be imported by that name.
"""

import importlib
import importlib.metadata
import os
import sys
from types import ModuleType
from typing import Any

import jax
import pytest

from jaxntk.kernels.neural_tangents_import import import_neural_tangents

SUITE = "tests/empirical_test.py"


def main(options: list[str]) -> int:
    """Runs the tests.

    Args:
        options: further ones of pytest.

    Returns:
        pytest's exit code.
    """
    import_neural_tangents()
    assert "tensorflow" not in sys.modules, "it is to run without"
    # The tests themselves use a name that JAX has dropped.
    vars(jax)["tree_map"] = jax.tree.map
    files = importlib.metadata.files("neural-tangents") or []
    found = [file.locate() for file in files if str(file) == SUITE]
    if not found:
        sys.exit(f"this neural-tangents brings no {SUITE}: install the wheel of 0.6.5")
    (suite,) = found
    utilities: ModuleType = importlib.import_module("tests.test_utils")
    assert hasattr(utilities, "skip_test"), "its tests skip themselves in another way"
    vars(utilities)["skip_test"] = _skip_nothing
    # Nothing of this project's configuration, which a .venv inside it would take over, and nothing
    # written beside the installed tests.
    own = ["-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", str(suite.parent), "-q"]
    return int(pytest.main([*own, "--import-mode=importlib", *options, str(suite)]))


def _skip_nothing(*args: Any, **kwargs: Any) -> None:
    del args, kwargs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
