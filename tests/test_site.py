"""What the site is made from; tests/browser/test_site.py walks the pages themselves."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"


@pytest.fixture
def gather(monkeypatch):
    monkeypatch.syspath_prepend(str(SITE))
    import gather

    return gather


def settings(monkeypatch, **variables):
    for name in ("BN_TUTORIAL_REPOSITORY", "BN_TUTORIAL_BRANCH", "BN_TUTORIAL_SITE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(SITE / "conf.py"))


@pytest.fixture(params=["en", "zh"])
def edition(request, gather):
    (found,) = [one for one in gather.EDITIONS if one.language == request.param]
    return found


@pytest.fixture
def english(gather):
    return gather.EDITIONS[0]


def test_sources_are_the_pages_of_the_repository(gather, edition, tmp_path):
    gather.gather(tmp_path / "sources", edition)
    for path in (ROOT / edition.notebooks).glob("**/[0-9][0-9]_*.ipynb"):
        name = path.relative_to(ROOT / edition.notebooks)
        if name.parts[0] == "zh":
            continue
        theirs = json.loads(path.read_text(encoding="utf-8"))
        ours = json.loads((tmp_path / "sources" / "notebooks" / name).read_text("utf-8"))
        for cell, copy in zip(theirs["cells"], ours["cells"], strict=True):
            assert copy["source"] == cell["source"]
            assert copy.get("outputs") == cell.get("outputs")
    for name in ("index.md", "setup.md", "draw.md", "glossary.md", "benchmarks/README.md"):
        assert (tmp_path / "sources" / name).read_text(encoding="utf-8").startswith("# ")


def test_each_english_page_but_the_untranslated_has_a_chinese_one(gather, tmp_path):
    for edition in gather.EDITIONS:
        gather.gather(tmp_path / edition.language, edition)
    pages = {
        edition.language: {
            path.relative_to(tmp_path / edition.language).as_posix()
            for path in (tmp_path / edition.language).glob("**/*.*")
            if path.suffix in {".md", ".ipynb"}
        }
        for edition in gather.EDITIONS
    }
    assert pages["en"] - pages["zh"] == {"data/README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert pages["zh"] < pages["en"]


def test_what_was_gathered_before_is_gone(gather, english, tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "old.md").write_text("# Old")
    gather.gather(tmp_path / "sources", english)
    assert not (tmp_path / "sources" / "old.md").exists()


def test_readme_is_split_at_the_end_of_its_first_screen(gather, english):
    readme = "# T\n\nEnglish · [中文](README.zh.md)\n\nfirst\n\n## What you need\n\nPython\n"
    first, rest = gather.split_readme(readme, english)
    assert first == "# T\n\nfirst\n\n"
    assert rest == "# Set up and use\n\n## What you need\n\nPython\n"
    with pytest.raises(gather.GatherError, match="README.md: expected the line '## What you need'"):
        gather.split_readme("# T\n", english)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[x](bn_tutorial/batch_norm.py)", "[x](#bn_tutorial.batch_norm)"),
        ("[x](../../bn_tutorial/exercises/results.py)", "[x](#bn_tutorial.exercises.results)"),
        ("[x](bn_tutorial/exercises)", "[x](#bn_tutorial.exercises)"),
        ("[x](site/README.md)", "[x](draw.md)"),
        ("[x](notebooks/01_naive_batch_norm.ipynb)", "[x](notebooks/01_naive_batch_norm.ipynb)"),
    ],
)
def test_links(gather, english, link, expected):
    assert gather.point_to_pages(link, english) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[x](bn_tutorial/mnist.py)", "[x](en:reference/bn_tutorial/mnist/index.html)"),
        ("[x](bn_tutorial/exercises)", "[x](en:reference/bn_tutorial/exercises/index.html)"),
        ("[x](CONTRIBUTING.md)", "[x](en:CONTRIBUTING.html)"),
        ("[x](data/README.md)", "[x](en:data/README.html)"),
        ("[x](benchmarks/README.zh.md)", "[x](benchmarks/README.md)"),
        ("[x](site/README.md)", "[x](draw.md)"),
        ("[x](notebooks/zh/01_naive_batch_norm.ipynb)", "[x](notebooks/01_naive_batch_norm.ipynb)"),
    ],
)
def test_chinese_links(gather, link, expected):
    assert gather.point_to_pages(link, gather.EDITIONS[1]) == expected


def test_figures_keep_their_alternative_texts(gather):
    output = {"metadata": {"image/png": {"alt": "a curve"}}, "data": {"image/png": ""}}
    notebook = {"cells": [{"metadata": {}, "outputs": [output]}, {"metadata": {}}]}
    first, second = gather.describe_images(notebook)["cells"]
    assert first["metadata"] == {"mystnb": {"image": {"alt": "a curve"}}}
    assert second["metadata"] == {}


def test_canvas_is_one_output_of_notebook_2(gather):
    html = {"data": {"text/html": ['<div data-bn-tutorial="draw-a-digit">', "</div>"]}}
    assert gather.canvas({"cells": [{"outputs": [html]}]}) == "".join(html["data"]["text/html"])
    for cells in ([], [{"outputs": [html, html]}]):
        with pytest.raises(gather.GatherError, match="expected one output with the canvas"):
            gather.canvas({"cells": cells})


def test_links_to_colab_and_binder_need_an_address(monkeypatch):
    assert "launch_buttons" not in settings(monkeypatch)["html_theme_options"]
    found = settings(monkeypatch, BN_TUTORIAL_REPOSITORY="https://example.org/owner/name/")
    assert found["html_theme_options"]["repository_url"] == "https://example.org/owner/name"
    assert found["html_theme_options"]["repository_branch"] == "main"
    assert set(found["html_theme_options"]["launch_buttons"]) == {"binderhub_url", "colab_url"}


def test_an_empty_branch_is_main(monkeypatch):
    address = {"BN_TUTORIAL_REPOSITORY": "https://example.org/owner/name"}
    for branch, expected in (("", "main"), ("draft", "draft")):
        found = settings(monkeypatch, BN_TUTORIAL_BRANCH=branch, **address)
        assert found["html_theme_options"]["repository_branch"] == expected


def test_lock_names_no_address_and_no_tensorflow():
    lock = (SITE / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links", lock)
    entries = re.split(r"^(?=[a-z0-9._-]+==)", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"^(tensorflow|keras|numpy)==", lock, re.MULTILINE)


def test_axe_is_locked_without_an_address():
    lock = json.loads((ROOT / "tests/browser/package-lock.json").read_text(encoding="utf-8"))
    (axe,) = [entry for name, entry in lock["packages"].items() if name.endswith("axe-core")]
    assert axe["integrity"].startswith("sha512-")
    assert "resolved" not in axe
