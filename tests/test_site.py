"""What the site is made from; tests/browser/test_site.py walks the pages themselves."""

import json
import re
import runpy
from pathlib import Path

import pytest

from bn_tutorial.keras_models.ailments import AILMENTS

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"


@pytest.fixture(scope="module")
def gather():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SITE))
        import gather
    return gather


@pytest.fixture(scope="module")
def sources(gather, tmp_path_factory):
    """A folder for each language with what is gathered for it; there was a page before."""
    folders = {one.language: tmp_path_factory.mktemp(one.language) for one in gather.EDITIONS}
    for edition in gather.EDITIONS:
        (folders[edition.language] / "old.md").write_text("# Old")
        gather.gather(folders[edition.language], edition)
    return folders


def settings(monkeypatch, **variables):
    for name in ("BN_TUTORIAL_REPOSITORY", "BN_TUTORIAL_BRANCH", "BN_TUTORIAL_SITE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(SITE / "conf.py"))


def without_links(lines):
    """The text without links to the glossary, and but for where other links lead in the site."""
    text = re.sub(r"\[([^\]]*)\]\(\.\./glossary\.md#[^)]*\)", r"\1", "".join(lines))
    return re.sub(r"\]\([^)]*\)", "]()", text)


@pytest.mark.parametrize(("language", "notebooks"), [("en", "notebooks"), ("zh", "notebooks/zh")])
def test_sources_are_the_pages_of_the_repository(sources, language, notebooks):
    for path in (ROOT / notebooks).glob("**/[0-9][0-9]_*.ipynb"):
        name = path.relative_to(ROOT / notebooks)
        if name.parts[0] == "zh":
            continue
        theirs = json.loads(path.read_text(encoding="utf-8"))
        ours = json.loads((sources[language] / "notebooks" / name).read_text("utf-8"))
        for cell, copy in zip(theirs["cells"], ours["cells"], strict=True):
            assert without_links(copy["source"]) == without_links(cell["source"])
            assert copy.get("outputs") == cell.get("outputs")
    for name in ("index", "setup", "train", "draw", "glossary", "benchmarks/README"):
        assert (sources[language] / f"{name}.md").read_text(encoding="utf-8").startswith("# ")


def test_each_english_page_but_the_untranslated_has_a_chinese_one(sources):
    pages = {}
    for language, folder in sources.items():
        found = [*folder.glob("**/*.md"), *folder.glob("**/*.ipynb")]
        pages[language] = {path.relative_to(folder).as_posix() for path in found}
    untranslated = "data/README", "examples/README", "CONTRIBUTING", "CHANGELOG"
    assert pages["en"] - pages["zh"] == {f"{name}.md" for name in untranslated}
    assert pages["zh"] < pages["en"]
    assert "old.md" not in pages["en"]


def test_the_readme_gives_the_table_of_chapters_and_a_page_of_commands(gather):
    english = gather.EDITIONS[0]
    readme = "# T\n\nfirst\n\n| a |\n| b |\n\n```\nmake run\n```\n\n## What\n\n| c |\n"
    table, rest = gather.split_readme(readme, english)
    assert table == "| a |\n| b |\n"
    assert rest == "# Set up and use\n\n```\nmake run\n```\n\n## What\n\n| c |\n"
    for lacking, missing in (("# T\n", "a table"), ("# T\n| a |\n", "a block of commands")):
        with pytest.raises(gather.GatherError, match=f"README.md: expected {missing}"):
            gather.split_readme(lacking, english)


def test_the_page_of_symptoms_is_the_doctors_table(monkeypatch):
    """If not: python site/symptoms.py."""
    monkeypatch.syspath_prepend(str(SITE))
    from symptoms import page

    text = page()
    assert (SITE / "symptoms.md").read_text(encoding="utf-8") == text
    for kind, ailment in AILMENTS.items():
        assert f"({kind})=\n" in text
        assert f"\n{ailment.code}\n" in text


@pytest.mark.parametrize(
    ("language", "link", "expected"),
    [
        ("en", "bn_tutorial/batch_norm.py", "#bn_tutorial.batch_norm"),
        ("en", "../../bn_tutorial/exercises/results.py", "#bn_tutorial.exercises.results"),
        ("en", "bn_tutorial/exercises", "#bn_tutorial.exercises"),
        ("en", "site/README.md", "draw.md"),
        ("en", "notebooks/01_naive_batch_norm.ipynb", "notebooks/01_naive_batch_norm.ipynb"),
        ("zh", "bn_tutorial/mnist.py", "en:reference/bn_tutorial/mnist/index.html"),
        ("zh", "bn_tutorial/exercises", "en:reference/bn_tutorial/exercises/index.html"),
        ("zh", "CONTRIBUTING.md", "en:CONTRIBUTING.html"),
        ("zh", "data/README.md", "en:data/README.html"),
        ("zh", "benchmarks/README.zh.md", "benchmarks/README.md"),
        ("zh", "site/README.md", "draw.md"),
        ("zh", "notebooks/zh/01_naive_batch_norm.ipynb", "notebooks/01_naive_batch_norm.ipynb"),
    ],
)
def test_links(gather, language, link, expected):
    edition = next(one for one in gather.EDITIONS if one.language == language)
    assert gather.point_to_pages(f"[x]({link})", edition) == f"[x]({expected})"


def test_the_first_use_of_a_term_leads_to_the_glossary(gather):
    terms = {"logits": "logits", "pop-mean": "pop mean", "decay": "decay", "gamma": "gamma"}
    sources = [
        "# The decay\n\n`decay` and $decay$, [decay](x), weight-decay. A *logit* is it.",
        "$$\\gamma$$ The decay, decays again; the logits.",
    ]
    notebook = {"cells": [{"cell_type": "markdown", "source": [text]} for text in sources]}
    notebook["cells"].insert(1, {"cell_type": "code", "source": ["decay"]})
    first, code, last = ("".join(c["source"]) for c in gather.link_terms(notebook, terms)["cells"])
    assert first == sources[0].replace("logit", "[logit](../glossary.md#logits)")
    assert code == "decay"
    assert last == sources[1].replace("decay,", "[decay](../glossary.md#decay),")


def test_figures_keep_their_alternative_texts(gather):
    output = {"metadata": {"image/png": {"alt": "a curve"}}, "data": {"image/png": ""}}
    notebook = {"cells": [{"metadata": {}, "outputs": [output]}, {"metadata": {}}]}
    first, second = gather.describe_images(notebook)["cells"]
    assert first["metadata"] == {"mystnb": {"image": {"alt": "a curve"}}}
    assert second["metadata"] == {}


def test_a_fragment_is_one_output_of_its_notebook(gather):
    html = {"data": {"text/html": ['<div data-bn-tutorial="draw-a-digit">', "</div>"]}}
    found = gather.fragment({"cells": [{"outputs": [html]}]}, "draw-a-digit")
    assert found == "".join(html["data"]["text/html"])
    for cells in ([], [{"outputs": [html, html]}]):
        with pytest.raises(gather.GatherError, match="expected one output with the fragment"):
            gather.fragment({"cells": cells}, "draw-a-digit")


def test_links_to_colab_and_binder_need_an_address(monkeypatch):
    assert "launch_buttons" not in settings(monkeypatch)["html_theme_options"]
    address = {"BN_TUTORIAL_REPOSITORY": "https://example.org/owner/name/"}
    for branch, expected in (("", "main"), ("draft", "draft")):  # an empty branch is none
        found = settings(monkeypatch, BN_TUTORIAL_BRANCH=branch, **address)["html_theme_options"]
        assert found["repository_url"] == "https://example.org/owner/name"
        assert found["repository_branch"] == expected
        assert set(found["launch_buttons"]) == {"binderhub_url", "colab_url"}


def test_axe_is_locked_without_an_address():
    lock = json.loads((ROOT / "tests/browser/package-lock.json").read_text(encoding="utf-8"))
    (axe,) = [entry for name, entry in lock["packages"].items() if name.endswith("axe-core")]
    assert axe["integrity"].startswith("sha512-")
    assert "resolved" not in axe
