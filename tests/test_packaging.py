"""The lock and the metadata agree, and the checks that every other test leans on are on."""

import configparser
import platform
import re
from importlib.metadata import PackageNotFoundError, distribution
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
# What neural-tangents asks for and does not need, by name so that nothing else may be left out.
LEFT_OUT = {"neural-tangents": {"tensorflow", "tf2jax"}}


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
    series = ".".join(python.split(".")[:2])
    return {
        "python_version": series,
        "python_full_version": f"{series}.5",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }


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


def test_the_lock_holds_neural_tangents_without_tensorflow():
    names = {normal(requirement.name) for requirement in locked()}
    assert {"neural-tangents", "frozendict"} <= names
    assert not {name for name in names if "tensorflow" in name or "tf2jax" in name} - {
        "tensorflow-datasets",  # reads prepared data without TensorFlow
        "tensorflow-metadata",
    }


def test_a_plain_install_asks_for_neither():
    plain = metadata()["options"]["install_requires"]
    names = {normal(Requirement(line).name) for line in plain.splitlines() if line}
    assert not names & {"neural-tangents", "frozendict", "tensorflow", "tf2jax"}


def test_the_lock_is_complete():
    """It is installed without looking for what its packages require."""
    here = environment(platform.python_version())
    pins = {
        normal(pin.name): pin for pin in locked() if not pin.marker or pin.marker.evaluate(here)
    }
    todo, missing = [("jaxntk", need, {""}) for need in declared()], set()
    seen = set()
    while todo:
        asker, need, extras = todo.pop()
        name = normal(need.name)
        if not applies(need, extras, here) or name in LEFT_OUT.get(asker, ()):
            continue
        version = next(iter(pins[name].specifier)).version if name in pins else None
        if version is None or not need.specifier.contains(version, prereleases=True):
            missing.add(f"{asker} requires {need}, locked is {version}")
        elif (name, frozenset(need.extras)) not in seen:
            seen.add((name, frozenset(need.extras)))
            requires = installed(name, version).requires or ()
            todo += [(name, Requirement(line), {"", *need.extras}) for line in requires]
    assert not missing, "\n".join(sorted(missing))
    assert {name for name, _ in seen} == set(pins), "the lock holds what nothing requires"


def applies(need, extras, here):
    return not need.marker or any(need.marker.evaluate(here | {"extra": extra}) for extra in extras)


def installed(name, version):
    try:
        found = distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"the lock is not installed: {name} is missing")
    if found.version != version:
        pytest.skip(f"the lock is not installed: {name} is {found.version}, not {version}")
    return found


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
