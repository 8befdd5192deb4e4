"""A fragment of HTML: put together from its template, script, style, texts and numbers."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from string import Template

import numpy as np
from matplotlib.figure import Figure

FILES = resources.files(__package__)
LANGUAGES = ("en", "zh")  # the first is for pages in any other language
LARGEST_HALF_FLOAT = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Fragment:
    """HTML that Jupyter shows as a cell's output.

    Attributes:
        kind: Its name, which is the value of the attribute `data-bn-tutorial`.
        html: The whole of it, which is one `<div>`.
    """

    kind: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def make_fragment(
    kind: str,
    data: Mapping[str, object],
    picture: Figure,
    values: Mapping[str, object],
    language: str | None,
    before: str = "",
) -> Fragment:
    """Put a fragment together; its files are named after its kind.

    Args:
        kind: Its name, such as "draw-a-digit".
        data: What the script reads, in addition to texts and style.
        picture: Figure that is seen where scripts don't run.
        values: Numbers and words for the braces in the figure's two texts, "alt" and "sentence".
        language: "en" or "zh"; None takes the page's, from the `lang` around the fragment, and is
            English where that is neither or scripts don't run.
        before: JavaScript that the fragment's own script builds on.

    Raises:
        ValueError: the language is unknown.
    """
    if language not in (None, *LANGUAGES):
        raise ValueError(f"language must be None or one of {LANGUAGES}, found {language!r}")
    name = kind.replace("-", "_")
    texts = {code: read_texts(name, code) for code in LANGUAGES}
    shown = texts[language or LANGUAGES[0]]
    style = read_files("shared.css", f"{name}.css")
    whole = {**data, "language": language, "texts": texts, "style": style}
    # "</script>" in a text would end the data; JSON lets "<" be written like this.
    as_json = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    filled = Template(read_files("fragment.html")).substitute(
        kind=kind,
        picture=_png(picture),
        alt=html.escape(shown["alt"].format(**values)),
        sentence=html.escape(shown["sentence"].format(**values)),
        data=as_json,
        script=read_files("shared.js") + before + read_files(f"{name}.js"),
    )
    return Fragment(kind, filled)


def read_texts(name: str, language: str) -> dict:
    """All that a fragment says, in one language."""
    return json.loads(read_files(f"texts/{name}.{language}.json"))


def encode_half_floats(numbers: np.ndarray) -> str:
    """Write numbers as float16, little endian, in base64.

    Raises:
        ValueError: a number is NaN, or too large for a float16.
    """
    fits = np.abs(numbers) <= LARGEST_HALF_FLOAT  # NaN does not
    if not fits.all():
        raise ValueError(
            f"expected numbers of a size up to {LARGEST_HALF_FLOAT:.0f}, as float16 has them; "
            f"found {numbers[~fits][0]}"
        )
    return encode_bytes(np.asarray(numbers, "<f2").tobytes())


def encode_bytes(values: bytes) -> str:
    """Write bytes in base64."""
    return base64.b64encode(values).decode("ascii")


def read_files(*names: str) -> str:
    """The text of some of the files beside this one, one after the other."""
    return "".join(FILES.joinpath(name).read_text(encoding="utf-8") for name in names)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    # Without the program's version, so that the same picture is the same bytes.
    figure.savefig(buffer, format="png", dpi=64, facecolor="white", metadata={"Software": None})
    return encode_bytes(buffer.getvalue())
