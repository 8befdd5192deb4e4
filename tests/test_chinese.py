"""The Chinese edition: its catalogues, what is made from them, and the checks themselves."""

import json
import re

import nbformat
import polib
import pytest

from tools.chinese.__main__ import main
from tools.chinese.catalogues import chinese_text, translations
from tools.chinese.checks import translation_problems
from tools.chinese.documents import ROOT, Document, documents, figures_of
from tools.chinese.markdown import CODE_OR_FORMULA, LINK, translate

SMALL = Document("notebooks/01_small.ipynb")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes an English text into a small project, which the tools take for theirs."""
    monkeypatch.setattr("tools.chinese.documents.ROOT", tmp_path)

    def write(english, *sources):
        cells = [{"cell_type": "markdown", "id": "c", "source": [text]} for text in sources]
        cells += [{"cell_type": "code", "outputs": [{"text": "é\n"}], "source": ["print('é')"]}]
        text = json.dumps({"cells": cells}) if english.endswith(".ipynb") else sources[0]
        (tmp_path / english).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / english).write_text(text, encoding="utf-8")
        return Document(english)

    return write


def update_and_fill(known=()):
    """Make catalogues, and translate all messages, some as known."""
    assert main(["--update"]) == 0
    for document in documents():
        catalogue = polib.pofile(str(document.catalogue))
        for entry in catalogue:
            entry.msgstr = dict(known).get(entry.msgid, "译文。")
        catalogue.save()


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_the_committed_text_is_made_of_right_translations(document):
    for message, translation in translations(document).items():
        assert not translation_problems(message, translation), message
    path = ROOT / document.chinese
    text = path.read_bytes().decode()
    assert text == chinese_text(document), "run make zh"
    if path.suffix == ".ipynb":
        english, chinese = nbformat.read(ROOT / document.english, 4), nbformat.read(path, 4)
        code, copied = (
            [cell for cell in notebook.cells if cell.cell_type == "code"]
            for notebook in (english, chinese)
        )
        for figure in (figure for cell in [*code, *copied] for figure in figures_of(cell)):
            assert figure.pop("alt")  # all else is the same
        assert copied == code
        text = "\n".join(cell.source for cell in chinese.cells if cell.cell_type == "markdown")
    for _, _, target in LINK.findall(CODE_OR_FORMULA.sub("", text)):
        assert ":" in target or (path.parent / target.partition("#")[0]).exists(), target


def test_the_edition_has_one_file_for_each_text_and_one_translation_for_each_message():
    known = {}
    for document in documents():
        if not document.english.endswith(".json"):  # on a button the words may have to be fewer
            for message, translation in translations(document).items():
                assert known.setdefault(message, translation) == translation
    assert {*ROOT.glob("translations/**/*.po")} == {each.catalogue for each in documents()}
    made = {ROOT / each.chinese for each in documents() if each.english.endswith(".ipynb")}
    assert {*ROOT.glob("notebooks/zh/**/*.ipynb")} == made


def test_messages_are_whole_thoughts_and_the_rest_stays():
    source = (
        "# Title\n\nTwo\nlines. $x$\n- item\n  goes on\n\n1. What?\n"
        "   <details><summary>Answer</summary>\n\n   So:\n   $$\n   ab\n   $$\n\n   </details>\n\n"
        "| a | name |\n| --- | ---: |\n| `code` | 2 M |\n\n(label)=\n```\n# none\nrun  # why\n```\n"
        "<!-- measured: begin -->\nA program wrote this.\n\n## Heading\n<!-- measured: end -->\n"
    )
    messages = ["Title", "Two lines. $x$", "item goes on", "What?", "Answer", "So:", "| a | name |"]
    messages += ["why", "Heading"]
    expected = source.replace("Two\n", "Two ").replace("item\n  ", "item ")
    for message in messages:
        expected = expected.replace(message, f"<{message}>")
    found = []
    assert translate(source, lambda message: found.append(message) or f"<{message}>") == expected
    assert found == messages


def test_update_keeps_what_it_can_and_what_is_stale_is_shown_in_english(write, capsys):
    long = "Words. " * 60 + '"\\epsilon"'
    write(SMALL.english, "The batch mean is 0.", long, "Dropped: all else.")
    update_and_fill()
    for value in (1, 2):  # a message changed twice shows what was translated
        write(SMALL.english, mean := f"The batch mean is {value}.", long, mean + " New!")
        main(["--update"])
    updated = SMALL.catalogue.read_bytes()
    catalogue = polib.pofile(str(SMALL.catalogue))
    assert [entry.previous_msgid for entry in catalogue] == ["The batch mean is 0.", None, None]
    assert [entry.msgstr for entry in catalogue] == ["译文。", "译文。", ""]
    made = SMALL.catalogue.parents[2] / SMALL.chinese
    assert main(["--update"]) == main(["--stale", "01"]) == 0
    assert not made.exists()
    assert "01_small 2\n" in capsys.readouterr().out
    assert SMALL.catalogue.read_bytes() == updated
    main([])
    sources = ["".join(cell["source"]) for cell in json.loads(made.read_bytes())["cells"]]
    assert sources == [mean, "译文。", mean + " New!", "print('é')"]
    catalogue[0].flags.clear()
    catalogue.save()
    main(["--update"])
    assert "#| msgid" not in SMALL.catalogue.read_text(encoding="utf-8")


def test_check_names_file_and_message(write, capsys):
    write(SMALL.english, "See $x$.")
    update_and_fill()
    write(SMALL.english, "See $x$.", "Something new.")
    assert main(["--check"]) == 1
    lost, missing = capsys.readouterr().out.splitlines()[-2:]
    assert re.match(r"01_small c: .*See \$x\$.*: \$x\$", lost)
    assert re.match(r"01_small c: .*Something new", missing)
    with pytest.raises(SystemExit):
        main(["--check", "99"])
    assert re.search(r"expected .*01_small.* found: 99", capsys.readouterr().err)


def test_texts_keep_their_names_and_solutions_share_messages(write):
    texts = write("bn_tutorial/interactive/texts/a.en.json", '{"a": "a", "b": {"c": "c"}}')
    write(SMALL.english, "Of both.")
    solutions = write("notebooks/solutions/01_small.ipynb", "Of both.", "Of the solutions.")
    update_and_fill()
    assert json.loads(chinese_text(texts)) == {"a": "译文。", "b": {"c": "译文。"}}
    assert solutions.messages() == {"Of the solutions.": ["c"]}
    assert chinese_text(solutions).count("译文。") == 2


def test_of_a_figure_only_the_description_is_translated(write, tmp_path):
    document = write(SMALL.english, "Text.")
    path = tmp_path / SMALL.english
    notebook = json.loads(path.read_text(encoding="utf-8"))
    figure = {"metadata": {"image/png": {"alt": "A curve.", "width": 3}}}
    notebook["cells"][-1] |= {"id": "f", "outputs": [figure]}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert document.messages() == {"Text.": ["c"], "A curve.": ["f"]}
    update_and_fill()
    (output,) = json.loads(chinese_text(document))["cells"][-1]["outputs"]
    assert output == {"metadata": {"image/png": {"alt": "译文。", "width": 3}}}


def test_links_stay_within_the_language(write):
    readme = write("README.md", "[a](notebooks/01_small.ipynb#b) [a](README.zh.md) [a](#b)")
    write(SMALL.english, "[![a](c)](01_small.ipynb) [a](../README.md) [a](../d/) [a](a://b/../c)")
    assert chinese_text(readme) == "[a](notebooks/zh/01_small.ipynb#b) [a](README.md) [a](#b)"
    links = "[![a](../c)](01_small.ipynb) [a](../../README.zh.md) [a](../../d/) [a](a://b/../c)"
    assert links in chinese_text(SMALL)


def test_links_to_a_heading_lead_to_the_chinese_one(write):
    write(SMALL.english, "# A title\n\n(mark)=\n## `x`, then *y*?\n\n```\n# no heading\n```\n")
    glossary = write("site/glossary.md", "[a](../notebooks/01_small.ipynb#x-then-y) [b](#mark)")
    update_and_fill({"`x`, then *y*?": "先 `x`，后 *y*？"})
    expected = "[a](../notebooks/zh/01_small.ipynb#先-x后-y) [b](#mark)"
    assert chinese_text(glossary) == expected


WHOLE = "$x$ `a|b` [甲](d.md) ![e](f.png)<br> {count} **甲**[^1] 0.97 5% |"
PARTS = ["$x$", "`a|b`", "d.md", "![", "f.png", "<br>", "{count}", "**", "[^1]", "0.97", "5%", "|"]


def test_what_is_lost_or_added_is_named():
    assert translation_problems(WHOLE, "甲") == [f"{part} is missing" for part in PARTS]
    assert translation_problems("A", WHOLE) == [f"{part} is too much" for part in PARTS]


TYPOGRAPHY = ["用 BN训。", "用BN 训。", "这 是。", "是， BN。", "是;中。", "是 BN;。", "叫「中。"]
TYPOGRAPHY += ["叫“中。", "共 Ａ 步。", "用  BN。", "这\n是。", "这是", "Mean and more。"]
WRONG = {"It is `a`.": "是`a` 的。", "So:": "所以。", "**Two.** Text.": "一**粗体。**文。"}
WRONG |= {"Batch-normalization biases.": "BN 的权重。", "It is normalised.": "被归一化（标准化）。"}
WRONG |= {"Two.": "是 but all is left so 的。"}


# What STYLE.md says instead of what; 答 stays in the game.
WORDING = {
    "见笔记本 3。": "见第 3 章。",
    "下一本讲它。": "下一章讲它。",
    "网络都答 8。": "网络都判为 8。",
    "BN 的回答是 8。": "BN 给出 8。",
    "准确率是 0.9 对 0.8。": "准确率分别为 0.9 和 0.8。",
    "没有 BN 的网络慢。": "不用 BN 的网络慢。",
    "倍数是深度的幂。": "倍数按幂律增长。",
    "所用的网络是它。": "这里用这个网络。",
    "权重衰减的衰减率不变。": "权重衰减系数不变。",
}


def test_a_wrong_translation_has_one_problem():
    for message, wrong in [*WRONG.items(), *(("Two.", wrong) for wrong in TYPOGRAPHY)]:
        assert len(translation_problems(message, wrong)) == 1, wrong


def test_a_word_that_was_decided_against_is_named():
    for wrong, right in WORDING.items():
        about = "Weight decay." if "衰减" in right else "Two."
        numbers = "".join(f" {number}" for number in re.findall(r"\d(?:\.\d)?", right))
        message = about.replace(".", f"{numbers}.")
        assert len(translation_problems(message, wrong)) == 1, wrong
        assert not translation_problems(message, right), right
    assert not translation_problems("Two.", "无论你写什么，网络都答同一个类别。")
