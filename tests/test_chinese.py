"""The Chinese edition: its catalogues, what is made from them, and the checks themselves."""

import csv
import json
import re
from pathlib import Path

import polib
import pytest

from tools.chinese import markdown
from tools.chinese.__main__ import main
from tools.chinese.catalogues import (
    differing_translations,
    translations,
    update_catalogue,
    wanted_messages,
)
from tools.chinese.documents import ROOT, Document, counterpart, documents
from tools.chinese.form import columns, form_problems, numbers_in_words
from tools.chinese.glossary import PATH, Term, glossary_problems, read_glossary
from tools.chinese.problems import problems_of, translation_problems, wrong_translations
from tools.chinese.typography import language_problems, typography_problems

DOCUMENTS = documents()
TERMS = read_glossary()
REMEDY = "run make zh"


def cells(text, kind):
    return [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]


@pytest.fixture(params=DOCUMENTS, ids=lambda document: document.name)
def document(request):
    return request.param


@pytest.fixture(params=[d for d in DOCUMENTS if d.is_notebook], ids=lambda document: document.name)
def notebook(request):
    return request.param


# --- The edition as committed ---


def test_each_translation_is_right(document):
    """Messages without one are `make test-full`'s to find; the edition shows them in English."""
    problems = wrong_translations(document)
    assert not problems, "\n".join(problems)


def test_the_same_message_is_translated_the_same_everywhere():
    assert not differing_translations(DOCUMENTS)


def test_committed_text_is_what_is_made(document):
    known = translations(document)
    made = document.make(lambda text: known.get(text, text))
    path = ROOT / document.chinese
    assert path.exists(), f"{document.chinese} is not there; {REMEDY}"
    same = path.read_bytes() == made.encode()
    assert same, f"{document.chinese} is not what the catalogue gives; {REMEDY}"


def test_code_outputs_and_metadata_are_the_english_ones(notebook):
    english, chinese = notebook.read(), (ROOT / notebook.chinese).read_text(encoding="utf-8")
    assert cells(chinese, "code") == cells(english, "code")
    ours, theirs = json.loads(english), json.loads(chinese)
    for cell in [*ours["cells"], *theirs["cells"]]:
        cell.pop("source")
    assert theirs == ours


def test_links_lead_to_files(document):
    path = ROOT / document.chinese
    text = path.read_text(encoding="utf-8")
    if document.is_notebook:
        text = "\n".join("".join(cell["source"]) for cell in cells(text, "markdown"))
    for _, _, target in markdown.LINK.findall(markdown.CODE.sub("", text)):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_nothing_is_left_of_texts_that_are_gone():
    expected = {document.catalogue for document in DOCUMENTS}
    assert set((ROOT / "translations").rglob("*.po")) == expected
    notebooks = {ROOT / document.chinese for document in DOCUMENTS if document.is_notebook}
    assert set((ROOT / "notebooks/zh").rglob("*.ipynb")) == notebooks


def test_the_glossary_decides_each_term_once():
    with PATH.open(encoding="utf-8", newline="") as file:
        names = [row["english"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) >= 60
    for term in TERMS:
        assert term.chinese, term
        for wrong in term.forbidden:
            assert not any(wrong in allowed for allowed in term.chinese), term


def test_readmes_lead_to_each_other():
    assert "[中文](README.zh.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "[English](README.md)" in (ROOT / "README.zh.md").read_text(encoding="utf-8")


# --- Markdown, message by message ---


SOURCE = """\
# Title

A paragraph that
is wrapped. $x$
- item one
  goes on
- item two

1. Question?

   <details><summary>Answer</summary>

   In the item.

   $$a = b$$

   </details>

| name | what |
| --- | ---: |
| `code` | 12 |
| `code` | said |

```
not a message
```
<!-- measured: begin -->
A program wrote this.
<!-- measured: end -->
"""


def test_messages_are_whole_thoughts():
    assert [piece.text for piece in markdown.split(SOURCE) if piece.text] == [
        "Title",
        "A paragraph that is wrapped. $x$",
        "item one goes on",
        "item two",
        "Question?",
        "Answer",
        "In the item.",
        "| name | what |",
        "| `code` | said |",
    ]


def test_what_is_no_message_stays():
    translated = markdown.translate(SOURCE, lambda text: "译")
    assert translated == (
        "# 译\n\n译\n- 译\n- 译\n\n1. 译\n\n   <details><summary>译</summary>\n\n   译\n\n"
        "   $$a = b$$\n\n   </details>\n\n译\n| --- | ---: |\n| `code` | 12 |\n译\n\n"
        "```\nnot a message\n```\n"
        "<!-- measured: begin -->\nA program wrote this.\n<!-- measured: end -->\n"
    )


def test_untranslated_notebooks_are_the_english_ones_but_for_links(notebook):
    made, english = notebook.make(lambda text: text), notebook.read()
    assert re.sub(r"\]\([^)]*\)", "]()", made) == re.sub(r"\]\([^)]*\)", "]()", english)


# --- Making and updating, in a small project ---


def write_notebook(root, *sources):
    markdown_cells = [
        {"cell_type": "markdown", "id": f"c{number}", "metadata": {}, "source": [source]}
        for number, source in enumerate(sources)
    ]
    code = {"cell_type": "code", "execution_count": 1, "id": "code", "metadata": {"tags": ["é"]}}
    code |= {"outputs": [{"output_type": "stream", "text": ["1\n"]}], "source": ["print(1)"]}
    path = root / "notebooks/01_small.ipynb"
    path.parent.mkdir(exist_ok=True)
    notebook = {"cells": [*markdown_cells, code], "metadata": {}, "nbformat": 4}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Document("notebooks/01_small.ipynb", root)


def fill(document):
    """Translate all messages to 译文。"""
    catalogue = polib.pofile(str(document.catalogue), wrapwidth=0)
    for entry in catalogue:
        entry.msgstr = "译文。"
    document.catalogue.write_text(f"{catalogue}\n", encoding="utf-8")


def test_update_twice_gives_the_same_bytes(tmp_path):
    document = write_notebook(tmp_path, "Words. " * 60, 'With "quotes" and \\epsilon.')
    update_catalogue(document)
    fill(document)
    update_catalogue(document)
    first = document.catalogue.read_bytes()
    update_catalogue(document)
    assert document.catalogue.read_bytes() == first
    assert b"Words. Words. Words." in first
    assert b"\r" not in first
    assert b"Date" not in first


def test_new_messages_are_empty_and_vanished_ones_dropped(tmp_path):
    update_catalogue(write_notebook(tmp_path, "First text."))
    document = write_notebook(tmp_path, "Something else entirely, and longer.")
    (entry,) = update_catalogue(document)
    assert (entry.msgid, entry.msgstr) == ("Something else entirely, and longer.", "")
    assert entry.occurrences == [("notebooks/01_small.ipynb", "c0")]


def test_a_changed_message_is_stale_and_named(tmp_path):
    document = write_notebook(tmp_path, "The mean of a batch is 0.", "Second paragraph.")
    update_catalogue(document)
    fill(document)
    document = write_notebook(tmp_path, "The mean of a batch is 1.", "Second paragraph.")
    before = problems_of(document)
    assert any("01_small c0: “The mean of a batch is 1.”: not in the" in line for line in before)
    assert any("“The mean of a batch is 0.”: no longer in" in line for line in before)
    changed, same = update_catalogue(document)
    assert changed.fuzzy
    assert changed.previous_msgid == "The mean of a batch is 0."
    assert changed.msgstr == "译文。"
    assert not same.fuzzy
    (problem,) = problems_of(document)
    assert "01_small c0: “The mean of a batch is 1.”: stale" in problem
    assert wrong_translations(document) == []  # what nobody is shown is not judged
    assert "The mean of a batch is 1." not in translations(document)


def test_a_message_changed_twice_shows_what_was_translated(tmp_path):
    document = write_notebook(tmp_path, "The mean of a batch is 0.")
    update_catalogue(document)
    fill(document)
    for value in (1, 2):
        (entry,) = update_catalogue(write_notebook(tmp_path, f"The mean of a batch is {value}."))
    assert entry.previous_msgid == "The mean of a batch is 0."


def test_an_empty_message_is_named(tmp_path):
    document = write_notebook(tmp_path, "Not yet.")
    update_catalogue(document)
    assert problems_of(document) == ["01_small c0: “Not yet.”: not translated"]


def test_solutions_share_the_messages_of_their_chapter():
    solutions = next(document for document in DOCUMENTS if document.name.startswith("solutions/08"))
    assert "Try it yourself" in solutions.chapter.messages()
    assert not wanted_messages(solutions).keys() & solutions.chapter.messages().keys()
    assert translations(solutions).items() >= translations(solutions.chapter).items()


def test_only_text_changes(tmp_path):
    document = write_notebook(tmp_path, "Text é.\n\n    code\n")
    made = document.write(lambda text: "译文。")
    assert made == tmp_path / "notebooks/zh/01_small.ipynb"
    text = made.read_text(encoding="utf-8")
    assert cells(text, "code") == cells(document.read(), "code")
    assert '"译文。\\n"' in text
    assert '"é"' in text


def test_texts_are_translated_by_name(tmp_path):
    document = Document("bn_tutorial/interactive/texts/small.en.json", tmp_path)
    path = tmp_path / document.english
    path.parent.mkdir(parents=True)
    path.write_text('{"clear": "clear", "names": {"naive": "naive BN"}}', encoding="utf-8")
    assert documents(tmp_path) == [document]
    clear, naive = update_catalogue(document)
    assert (clear.msgid, naive.msgid) == ("clear", "naive BN")
    assert naive.occurrences == [(document.english, "naive")]
    fill(document)
    made = document.write(lambda text: translations(document)[text])
    assert made == tmp_path / "bn_tutorial/interactive/texts/small.zh.json"
    text = made.read_text(encoding="utf-8")
    assert json.loads(text) == {"clear": "译文。", "names": {"naive": "译文。"}}
    path.write_text(path.read_text(encoding="utf-8").replace(" BN", " BN!"), encoding="utf-8")
    update_catalogue(document)
    assert any("small naive: “naive BN!”: stale" in problem for problem in problems_of(document))


@pytest.mark.parametrize(
    ("english", "link", "expected"),
    [
        ("notebooks/01_small.ipynb", "02_other.ipynb", "02_other.ipynb"),
        ("notebooks/01_small.ipynb", "02_other.ipynb#part", "02_other.ipynb#part"),
        ("notebooks/01_small.ipynb", "solutions/01_small.ipynb", "solutions/01_small.ipynb"),
        ("notebooks/01_small.ipynb", "../README.md", "../../README.zh.md"),
        ("notebooks/01_small.ipynb", "../bn_tutorial/x.py", "../../bn_tutorial/x.py"),
        ("notebooks/01_small.ipynb", "accuracy.png", "../accuracy.png"),
        ("notebooks/01_small.ipynb", "#part", "#part"),
        ("notebooks/01_small.ipynb", "https://example.org/a.md", "https://example.org/a.md"),
        ("notebooks/solutions/01_small.ipynb", "../01_small.ipynb", "../01_small.ipynb"),
        ("notebooks/solutions/01_small.ipynb", "../../data/", "../../../data/"),
        ("README.md", "notebooks/01_small.ipynb", "notebooks/zh/01_small.ipynb"),
        ("README.md", "CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("README.md", "README.zh.md", "README.md"),
        ("benchmarks/README.md", "../README.md", "../README.zh.md"),
    ],
)
def test_links_stay_within_the_language(tmp_path, english, link, expected):
    for name in ("01_small", "02_other", "solutions/01_small"):
        path = tmp_path / f"notebooks/{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = f"See [here]({link}) or ![there]({link})."
        text = {"cells": [{"cell_type": "markdown", "id": "c", "source": [source]}]}
        path.write_text(json.dumps(text), encoding="utf-8")
    for name in ("README.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"See [here]({link}) or ![there]({link}).", encoding="utf-8")
    made = Document(english, tmp_path).make(lambda text: text)
    assert f"[here]({expected}) or ![there]({expected})." in made


def test_counterparts():
    assert counterpart("notebooks/solutions/08.ipynb") == "notebooks/zh/solutions/08.ipynb"
    assert counterpart("benchmarks/README.md") == "benchmarks/README.zh.md"
    assert counterpart("texts/small.en.json") == "texts/small.zh.json"


# --- The checks find what they are for ---


@pytest.mark.parametrize(
    ("message", "translation", "problem"),
    [
        ("A $x$.", "一个 $y$。", "formula: $x$ is missing"),
        ("A $x$.", "一个 $x$ 和 $x$。", "formula: $x$ is too much"),
        ("See `a`.", "见 `b`。", "code: a is missing"),
        ("See [a](b.md).", "见 [a](c.md)。", "link: b.md is missing"),
        ("See ![a](b.png).", "见 [a](b.png)。", "image: b.png is missing"),
        ("See [![a](b.png)](c.md).", "见 ![a](b.png)。", "link: c.md is missing"),
        ("Press <kbd>A</kbd>.", "按 A。", "tag: <kbd> is missing"),
        ("A note[^1].", "注。", "footnote: [^1] is missing"),
        ("{count} units.", "{number} 个单元。", "field: {count} is missing"),
        ("**Bold.** Text.", "粗体。文。", "emphasis: bold is missing"),
        ("**Bold.** Text.", "一**粗体。**文。", "emphasis: bold is missing"),
        ("*Italics* here.", "**斜体**。", "emphasis: italics is missing"),
        ("About 1,000 steps.", "约 1000 步。", "number: 1,000 is missing"),
        ("It is 0.97.", "是 0.79。", "number: 0.79 is not in the English text"),
        ("It is 5%.", "是 5。", "number: 5% is missing"),
        ("In three steps.", "分 4 步。", "number: 4 is not in the English text"),
        ("| a | b |", "| 一 |", "columns: expected 2, found 1"),
    ],
)
def test_form_that_differs_is_found(message, translation, problem):
    assert problem in form_problems(message, translation)


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("`b` of $x$ and `a`: **two** [c](d.md).", "`a` 与 $x$ 的 `b`：[c](d.md) 的**两**。"),
        ("Of five hundred, 2.", "500 个里的 2 个。"),
        ("**What.** Text 1,000.", "**什么。** 文 1,000。"),
        (r"| `a|b` | $|x|$ | c |", r"| `a|b` | $|x|$ | 丙 |"),
        ("| a |  |", "| 甲 |  |"),
    ],
)
def test_form_that_agrees_is_left_alone(message, translation):
    assert not form_problems(message, translation)


def test_columns():
    assert columns(r"| `a|b` | x \| y | $|z|$ |  |") == ["`a|b`", r"x \| y", "$|z|$", ""]


def test_numbers_in_words():
    assert {5, 100, 500} <= set(numbers_in_words("Five hundred times"))
    assert not set(numbers_in_words("No number"))


@pytest.mark.parametrize(
    ("translation", "problem"),
    [
        ("用BN训练。", "no blank between"),
        ("约 1,000步。", "no blank between"),
        ("这里的`a` 是。", "no blank between"),
        ("其中$x$ 是。", "no blank between"),
        ("增加 5%的。", "no blank between"),
        ("参数γ 是。", "no blank between"),
        ("这是 中文。", "blank between Chinese characters"),
        ("这是 ，中文。", "blank beside full-width punctuation"),
        ("这是， BN。", "blank beside full-width punctuation"),
        ("这是,中文。", "half-width punctuation in Chinese"),
        ("这是BN, 中文。", "half-width punctuation in Chinese"),
        ("这是.", "half-width punctuation in Chinese"),
        ("论文 (2015)。", "half-width punctuation in Chinese"),
        ("论文（2015)。", "not in pairs: （）"),
        ("这是 BN;。", "half-width punctuation beside full-width"),
        ('这叫"中文"。', "quotation marks other than"),
        ("这叫「中文」。", "quotation marks other than"),
        ("这叫“中文。", "not in pairs: “”"),
        ("共 １０ 步。", "full-width letter"),
        ("用  BN 训练。", "two blanks"),
        ("这是中文。 ", "blank at an end"),
        ("这是\n中文。", "line break or tab"),
        ("这是中文", "ends with nothing, the English with ."),
        ("这是 BN.", "ends with ., the English with ."),
    ],
)
def test_bad_typography_is_found(translation, problem):
    problems = typography_problems("This is a sentence.", translation)
    assert any(problem in found for found in problems), problems


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("A sentence:", "一句话："),
        ("A heading", "一个标题"),
        ("A question?", "一个问题？"),
        ("x.", "取自 N(0, 1)，步数为 1,000，增加 5%。"),
        ("x.", "**你将做什么。** 用 `a` 和 $x$（见[笔记本 3](03.ipynb)）。"),
        ("x.", "S. Santurkar、D. Tsipras，[*How Does It Help?*](https://a.org)，2018。"),
        ("x.", "它的 γ 是 0.95–0.97——不多。"),
        ("| a | b: |", "| 甲 | 乙： |"),
        ("x (y).", "甲（乙）。"),
        ("*It does not learn.*", "*它学不会。*"),
    ],
)
def test_good_typography_is_left_alone(message, translation):
    assert not typography_problems(message, translation)


@pytest.mark.parametrize(
    ("message", "translation"), [("Heading", "标题。"), ("So:", "所以。"), ("So?", "所以。")]
)
def test_a_message_ends_as_the_english_one(message, translation):
    (problem,) = typography_problems(message, translation)
    assert problem.startswith("ends with 。, the English with")


@pytest.mark.parametrize(
    "translation",
    [
        "Mean and variance.",
        "| alone |",
        "这里 is a sentence left over 的。",
        "A. Madry and others, 2018.",
    ],
)
def test_english_that_was_left_is_found(translation):
    assert language_problems(translation, translation)


@pytest.mark.parametrize(
    "translation",
    [
        "[*How Does Batch Normalization Help Optimization?*](https://arxiv.org/a)",
        "| Inception | 31.0 M |",
        "`a b c` TensorFlow",
        "sigmoid 和 softmax。",
        "T. van Laarhoven，2017。",
        "图中的 without BN 是不用 BN 的曲线。",
    ],
)
def test_names_titles_and_labels_may_stay_english(translation):
    assert not language_problems(translation, translation)


@pytest.mark.parametrize(
    ("message", "translation", "problem"),
    [
        ("The biases.", "这些权重。", "glossary: bias is"),
        ("Two batches.", "两个批次。", "glossary: batch is 批, not 批次"),
        ("It is normalised.", "它被标准化。", "glossary: normalise is"),
        ("Batch normalization.", "批标准化。", "glossary: batch normalization is"),
        ("Batch-normalization layers.", "批标准化层。", "glossary: batch normalization is"),
    ],
)
def test_a_term_translated_otherwise_is_found(message, translation, problem):
    found = glossary_problems(message, translation, TERMS)
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("Weight decay and weights.", "权重衰减与权重。"),
        ("`batch` and [*Batch Normalization: A Title*](https://a.org/batch).", "`batch`"),
        ("The bridge.", "桥。"),
        ("By [*The difficulty of training*](https://a.org).", "[*The difficulty of training*]"),
        ("From *[A batch](https://a.org)*.", "出自它。"),
        ("Minibatches.", "小批量。"),
    ],
)
def test_terms_in_other_words_and_in_code_are_none(message, translation):
    assert not glossary_problems(message, translation, TERMS)


def test_a_term_inside_a_longer_one_is_not_asked_for():
    terms = [Term("weight decay", ("衰减",)), Term("weight", ("权重",))]
    assert not glossary_problems("Weight decay.", "衰减。", terms)
    assert glossary_problems("Weight decay and a weight.", "衰减。", terms)


def test_a_forbidden_word_inside_another_term_is_none():
    terms = [Term("global batch", ("全局批量",)), Term("population", ("总体",), ("全局",))]
    message = "The global batch and the population."
    assert not glossary_problems(message, "全局批量与总体。", terms)
    assert glossary_problems(message, "全局批量与总体、全局。", terms)


def test_a_good_translation_has_no_problem():
    assert not translation_problems(
        "**What you need.** BN normalises each unit of a batch to mean 0; see `x` and $\\gamma$.",
        "**你需要什么。** BN 把批量中每个单元归一化到均值 0；参见 `x` 和 $\\gamma$。",
        TERMS,
    )


# --- The command ---


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--check", "99"])
    assert "expected beginnings of: 01_naive_batch_norm" in capsys.readouterr().err


def test_check_says_what_is_wrong(capsys, monkeypatch, tmp_path):
    document = write_notebook(tmp_path, "Not yet.")
    update_catalogue(document)
    monkeypatch.setattr("tools.chinese.__main__.documents", lambda: [document])
    assert main(["--check", "01"]) == 1
    assert capsys.readouterr().out == "01_small c0: “Not yet.”: not translated\n"


def test_making_twice_gives_the_same_bytes_and_counts_what_stays_english(
    capsys, monkeypatch, tmp_path
):
    document = write_notebook(tmp_path, "Not yet.")
    update_catalogue(document)
    monkeypatch.setattr("tools.chinese.__main__.documents", lambda: [document])
    made: Path = tmp_path / document.chinese
    assert main([]) == 0
    first = made.read_bytes()
    assert main([]) == 0
    assert made.read_bytes() == first
    assert "notebooks/zh/01_small.ipynb: 1 messages stay English" in capsys.readouterr().out
