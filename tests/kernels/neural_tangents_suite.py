"""Runs neural-tangents' own empirical tests on neural-tangents as this project imports it.

    python tests/kernels/neural_tangents_suite.py [options of pytest]

Its wheel brings them along. About half of them skip themselves on CPUs because they take long;
here they run. Started as a script, not collected: both packages of tests are called ``tests``, and
only one can be imported by that name.
"""

import importlib
import importlib.metadata
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
    assert "tensorflow" not in sys.modules
    # The tests themselves use a name that JAX has dropped.
    vars(jax)["tree_map"] = jax.tree.map
    files = importlib.metadata.files("neural-tangents") or []
    (suite,) = [file.locate() for file in files if str(file) == SUITE]
    utilities: ModuleType = importlib.import_module("tests.test_utils")
    vars(utilities)["skip_test"] = _skip_nothing
    own = ["-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", str(suite.parent), "-q"]
    return int(pytest.main([*own, "--import-mode=importlib", *options, str(suite)]))


def _skip_nothing(*args: Any, **kwargs: Any) -> None:
    del args, kwargs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
