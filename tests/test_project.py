"""The files around the package agree with one another."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def locked():
    """Name → the versions pinned; more than one where platforms or Pythons differ."""
    versions = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ \\;]+)", LOCK, re.MULTILINE):
        versions.setdefault(name, []).append(version)
    return versions


def direct_requirements():
    extras = PROJECT["optional-dependencies"].values()
    texts = PROJECT["dependencies"] + [text for extra in extras for text in extra]
    return [Requirement(text) for text in texts if not text.startswith("bn-tutorial")]


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_each_dependency_is_locked_at_a_version_it_allows(requirement):
    versions = locked()[requirement.name]
    assert all(requirement.specifier.contains(version) for version in versions)


@pytest.mark.parametrize("path", ["requirements.lock", "site/requirements.lock"])
def test_each_locked_package_has_hashes_and_no_address(path):
    lock = (ROOT / path).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9._-]+==)", lock, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index|--find-links", lock)


def test_the_site_needs_no_tensorflow():
    lock = (ROOT / "site/requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"^(tensorflow|keras|numpy)==", lock, re.MULTILINE)


def test_conda_environment_installs_the_lock():
    python, pip, from_pip = ENVIRONMENT["dependencies"]
    assert python.removeprefix("python=") in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.lock"]}


def test_readme_names_targets_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = set(re.findall(r"\bmake ([a-z]+)\b", readme))
    assert named
    assert named <= set(targets)


def test_readme_lists_each_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("notebooks/*.ipynb"):
        assert f"(notebooks/{path.name})" in readme
