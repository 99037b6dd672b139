"""What is public: importable from its package, documented, and listed in docs/api.md."""

import importlib.util
import subprocess
import sys

import pytest

import jaxntk
from tests.conftest import REPOSITORY

SPEC = importlib.util.spec_from_file_location("api", REPOSITORY / "docs" / "api.py")
api = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(api)


def test_the_page_lists_what_there_is():
    written = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == api.page(), "write it anew: python docs/api.py"


@pytest.mark.parametrize("name", jaxntk.__all__)
def test_the_short_way_leads_to_the_same(name):
    home = importlib.import_module(jaxntk._HOME[name])
    assert name in home.__all__
    assert getattr(jaxntk, name) is getattr(home, name)


def test_what_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = jaxntk.nothing


def test_the_version_does_not_load_jax():
    code = "import sys, jaxntk as j; print(j.__version__, 'jax' in sys.modules, 'sample' in dir(j))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [jaxntk.__version__, "False", "True"]
