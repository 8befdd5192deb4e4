"""What each notebook does first: start TensorFlow quietly, set the seed, show where it runs.

Importing this module imports TensorFlow. The lines its C++ core writes at start-up (which
instructions it was built for, that there is no GPU) are dropped; they say nothing about the lesson,
and no setting of TensorFlow's silences them all. Errors are Python exceptions and are not touched.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown


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

    tf.config.list_logical_devices()


def start(seed: int) -> None:
    """Seed whatever is random, set the look of the figures, and print the versions in use."""
    keras.utils.set_random_seed(seed)
    plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.dpi": 90})
    versions = {
        "Python": platform.python_version(),
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
    }
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + f"; seed {seed}")


def show_source(*objects: Callable | type) -> Markdown:
    """The source of functions or classes, as a listing; what is read is what runs."""
    sources = (textwrap.dedent(inspect.getsource(item)).rstrip() for item in objects)
    listings = "\n\n\n".join(sources)
    return Markdown(f"```python\n{listings}\n```")
