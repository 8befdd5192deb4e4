"""What each notebook does first: start TensorFlow quietly, set the seed, load the digits.

Importing this module imports TensorFlow. The lines its C++ core writes at start-up (which
instructions it was built for, that there is no GPU) are dropped; they say nothing about the lesson,
and no setting of TensorFlow's silences them all. Errors are Python exceptions and are not touched.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image
from tabulate import tabulate

from bn_tutorial.mnist import Datasets, load_mnist


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Point the process's standard error output at the null device, C++ libraries' included."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


with silent_stderr():
    import keras
    import tensorflow as tf

    from bn_tutorial.distributed import divide_processor

    tf.config.list_physical_devices()  # says that there is no GPU, here and not later


def start(seed: int, source: str = "auto", devices: int = 1) -> Datasets:
    """Seed whatever is random, set the look of the figures, and load the digits.

    Prints the versions in use, the seed, and where the data are from.

    Args:
        seed: Seed of Python, NumPy and TensorFlow, and of the order of the batches.
        source: Where the digits come from, as in `load_mnist`.
        devices: Number of devices that the processor is divided into, for replicas.
    """
    with silent_stderr():
        processor = tf.config.list_physical_devices("CPU")[0]
        configured = tf.config.get_logical_device_configuration(processor) or [None]
        if devices != len(configured):  # a cell that is run again finds them there
            divide_processor(devices)
        tf.config.list_logical_devices()
    tf.get_logger().setLevel("WARNING")  # strategies tell of each of their steps
    keras.utils.set_random_seed(seed)
    plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.dpi": 90})
    show_figures_sharply()
    print(
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}, NumPy {np.__version__}; seed {seed}"
    )
    data = load_mnist(source=source, seed=seed)
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    print(f"data: {data.source}; {sizes}")
    return data


def within_budget(steps: int, budget: float, multiple: int = 50) -> int:
    """So many steps times the budget, as a multiple of `multiple`, and one multiple at least."""
    return max(1, round(steps * budget / multiple)) * multiple


def spread(values: Sequence[float | None], form: str = "{:.3f}") -> str:
    """The lowest and the highest of some numbers; None is a number that was never reached."""
    known = [form.format(value) for value in sorted(v for v in values if v is not None)]
    if not known:
        return "never"
    never = f" ({len(values) - len(known)} never)" if len(known) < len(values) else ""
    return "–".join(dict.fromkeys([known[0], known[-1]])) + never


def mean_and_spread(values: Sequence[float], form: str = "{:.3f}") -> tuple[str, str]:
    """The mean of some numbers, and the lowest and the highest: two cells of a table."""
    return form.format(np.mean(values)), spread(values, form)


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> Markdown:
    """Rows under headers, shown as a table; strings are as they are, numbers too."""
    return Markdown(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def show_figures_sharply() -> None:
    """Give each figure that IPython shows two pixels for one, and its description in words."""
    shell = get_ipython()
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # which registers a formatter without description
        png = shell.display_formatter.formatters["image/png"]
        png.for_type(Figure, _sharp_png)


def _sharp_png(figure: Figure) -> tuple[bytes, dict[str, object]]:
    image = Image.open(io.BytesIO(print_figure(figure, dpi=2 * figure.dpi)))
    width, height = (side // 2 for side in image.size)
    png = io.BytesIO()
    # A palette of 256 colours, with which it takes no more room than one of half the density.
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(png, "png", optimize=True)
    return png.getvalue(), {"width": width, "height": height, "alt": describe(figure)}


def describe(figure: Figure) -> str:
    """A figure in words: its label if it has one, else its titles, its axes and their legends."""
    if figure.get_label():
        return figure.get_label()
    sentences = [figure.get_suptitle(), _against(figure.get_supylabel(), figure.get_supxlabel())]
    for ax in figure.axes:
        axes = _against(ax.get_ylabel(), ax.get_xlabel())
        sentences += [ax.get_title(), axes, "; ".join(ax.get_legend_handles_labels()[1])]
    words = (" ".join(sentence.split()) for sentence in dict.fromkeys(sentences))
    return ". ".join(sentence for sentence in words if sentence) + "."


def _against(ylabel: str, xlabel: str) -> str:
    return " against ".join(filter(None, (ylabel, xlabel)))


def show_source(*objects: Callable | type, docstrings: bool = True) -> Markdown:
    """The source of functions or classes, as a listing; what is read is what runs.

    Args:
        objects: Functions and classes to show.
        docstrings: Whether to show their docstrings, too, which the text around may have said.
    """
    sources = [textwrap.dedent(inspect.getsource(item)).rstrip() for item in objects]
    if not docstrings:
        sources = [drop_docstrings(source) for source in sources]
    listings = "\n\n\n".join(sources)
    return Markdown(f"```python\n{listings}\n```")


def drop_docstrings(source: str) -> str:
    """The same code without the docstrings of its functions and classes."""
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            after = text.end_lineno + (lines[text.end_lineno : text.end_lineno + 1] == [""])
            lines[text.lineno - 1 : after] = [None] * (after - text.lineno + 1)
    return "\n".join(line for line in lines if line is not None)
