"""The files around the package agree with one another."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([a-z0-9._-]+)==([^ \\;]+)", re.MULTILINE)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]


def direct_requirements():
    extras = PROJECT["optional-dependencies"].values()
    texts = PROJECT["dependencies"] + [text for extra in extras for text in extra]
    return [Requirement(text) for text in texts if not text.startswith("bn-tutorial")]


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_each_dependency_is_locked_at_a_version_it_allows(requirement):
    """More than one, where platforms or Pythons differ."""
    found = PINNED.findall(read("requirements.lock"))
    versions = [version for name, version in found if name == requirement.name]
    assert versions
    assert all(requirement.specifier.contains(version) for version in versions)


@pytest.mark.parametrize("path", ["requirements.lock", "site/requirements.lock"])
def test_each_locked_package_has_hashes_and_no_address(path):
    lock = read(path)
    entries = re.split(r"^(?=[a-z0-9._-]+==)", lock, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index|--find-links", lock)


def test_the_site_needs_no_tensorflow():
    packages = {name for name, _ in PINNED.findall(read("site/requirements.lock"))}
    assert packages.isdisjoint({"tensorflow", "keras", "numpy"})


def test_conda_environment_installs_the_lock():
    python, pip, from_pip = yaml.safe_load(read("environment.yml"))["dependencies"]
    assert python.removeprefix("python=") in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.lock"]}


def test_readme_names_targets_that_exist():
    targets = re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE)
    named = set(re.findall(r"\bmake ([a-z]+)\b", read("README.md")))
    assert named
    assert named <= set(targets)


def test_readme_lists_each_notebook():
    for path in ROOT.glob("notebooks/*.ipynb"):
        assert f"(notebooks/{path.name})" in read("README.md")
