"""Write the page of symptoms, `site/symptoms.md`, from the table of the doctor `examine`.

    python site/symptoms.py

The standard library is enough: the table's module is loaded alone, without Keras.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "bn_tutorial" / "keras_models" / "ailments.py"
anchor = runpy.run_path(str(ROOT / "tools" / "chinese" / "markdown.py"))["anchor"]  # of a heading
CODE = re.compile(
    r"`[^`]*`|(layer\.)?trainable = False|(training|use_bias|renorm)=\w+|model(\.\w+)?\([^)]*\)"
    r"|layer\.\w+|[a-z]+_[a-z]+|\b(predict|gamma|beta|epsilon|momentum)\b"
)
BEGINNING = """\
# My model is good in training and bad in evaluation

These are the ways in which batch normalization (BN) goes wrong in a Keras model, each with what
one sees, the cause, the remedy, and the section of this tutorial in which it is shown. In most of
them the weights are fine, and what is wrong are the statistics by which BN normalises when the
model is not being trained. If you don't know which one is yours, let `examine` look at your
model. It runs some batches through it, changes nothing, and prints what it finds, with the layer
and the number:

```python
from bn_tutorial.keras_models import examine, recalibrate

examine(model, training_data)
```

[Set up and use](../README.md) says how to get it, and
[chapter 6](../notebooks/06_your_own_model.ipynb) shows the tools at work.
"""


def page() -> str:
    """The page, in Markdown: a section, with an anchor of its own, for each ailment."""
    ailments = runpy.run_path(str(TABLE))["AILMENTS"]
    contents = [f"- [{_title(each)}](#{each.kind})" for each in ailments.values()]
    return "\n".join([BEGINNING, *contents, "", *map(_section, ailments.values())])


def _section(ailment: object) -> str:
    number, _ = ailment.chapter.split("_", 1)
    link = f"../notebooks/{ailment.chapter}.ipynb#{anchor(ailment.section)}"
    return f"""({ailment.kind})=
## {_title(ailment)}

**What one sees.** {_sentence(ailment.symptom)}

**Cause.** {_sentence(ailment.cause)}

**Remedy.** {_sentence(ailment.remedy)}

```python
{ailment.code}
```

Shown in chapter {int(number)}, [{ailment.section}]({link}). `examine` calls it `{ailment.kind}`.
Reported in {ailment.links}.
"""


def _title(ailment: object) -> str:
    return _sentence(ailment.title).rstrip(".")


def _sentence(text: str) -> str:
    """With a capital at the beginning, and a full stop at the end."""
    text = _marked(text if CODE.match(text) else text[0].upper() + text[1:])
    return text if text[-1] in ".?" else f"{text}."


def _marked(text: str) -> str:
    """What is code is marked as code."""
    return CODE.sub(lambda code: f"`{code[0].strip('`')}`", text)


if __name__ == "__main__":
    (ROOT / "site" / "symptoms.md").write_text(page(), encoding="utf-8")
