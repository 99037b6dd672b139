"""The lock and the metadata agree, and the checks that every other test leans on are on."""

import configparser
import re
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from packaging.requirements import Requirement

import jaxntk
from jaxntk.results.correlation import correlate

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHONS = ["3.11", "3.12", "3.13"]


def metadata():
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return parser


def declared():
    groups = [metadata()["options"]["install_requires"]]
    groups += metadata()["options.extras_require"].values()
    return [Requirement(line) for group in groups for line in group.splitlines() if line]


def locked():
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line.split("#")[0]) for line in lines if not line.startswith("#")]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(python):
    return {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux"}


def test_the_lock_holds_exact_versions_and_no_address():
    for requirement in locked():
        assert requirement.url is None
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_names_one_version_that_the_floor_of_each_requirement_admits(python):
    pins = {}
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate(environment(python)):
            pins.setdefault(normal(pin.name), []).append(next(iter(pin.specifier)).version)
    for requirement in declared():
        versions = pins.get(normal(requirement.name), [])
        assert len(versions) == 1, f"{requirement} on Python {python}: {versions}"
        assert requirement.specifier.contains(versions[0]), f"{requirement} on Python {python}"
    assert {len(versions) for versions in pins.values()} == {1}


def test_no_requirement_has_an_upper_cap():
    for requirement in declared():
        assert {specifier.operator for specifier in requirement.specifier} == {">="}, requirement


def test_the_version_is_read_from_the_package():
    assert metadata()["metadata"]["version"] == "attr: jaxntk.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxntk.__version__)


def test_mixed_types_and_mixed_ranks_are_errors():
    with pytest.raises(ValueError, match="dtype_promotion"):
        jnp.ones(2, jnp.float32) + jnp.ones(2, jnp.int32)
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@pytest.mark.parametrize("shape", [(3, 1), (4,)])
def test_shapes_of_arguments_are_checked(shape):
    with pytest.raises(jaxtyping.TypeCheckError):
        correlate(np.arange(3.0), np.ones(shape), invalid=0)
