"""Images, as they are and as they are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import COLORS, show_image


def plot_digits(images: np.ndarray, titles: Sequence[object], title: str) -> Figure:
    """The first ten of some images, in a row; fewer, if there are fewer.

    Args:
        images: Images to choose from, float `[n, 784]` in [0, 1].
        titles: What to write above each image, `[n]`.
        title: Title of the figure.
    """
    drawn = [str(name) for name in titles[:10]]
    figure = plt.figure(figsize=(max(len(drawn), 4), 1.6), layout="constrained")
    axes = figure.subplots(1, max(len(drawn), 1), squeeze=False)[0]
    for ax in axes:
        ax.axis("off")
    for ax, image, name in zip(axes, images, drawn, strict=False):
        show_image(ax, image.reshape(28, 28), name)
    figure.suptitle(title)
    figure.set_label(f"{title}: {', '.join(drawn)}.")
    return figure


def plot_answers(image: np.ndarray, answers: Sequence[int], constant: int) -> Figure:
    """One image, and how often each class was the answer to it.

    Args:
        image: The image, float `[784]` in [0, 1].
        answers: Answers by batch statistics, one for each batch the image was in.
        constant: The answer by population statistics.
    """
    figure = plt.figure(figsize=(8, 3), layout="constrained")
    shown, bars = figure.subplots(1, 2, width_ratios=(1, 2.4))
    show_image(shown, np.reshape(image, (28, 28)), "the image")
    counts = np.bincount(answers, minlength=10)
    colors = [COLORS["without BN"]] * 10
    colors[constant] = COLORS["naive BN"]
    drawn = bars.bar(range(10), counts, color=colors)
    bars.bar_label(drawn, [str(count) if count else "" for count in counts])
    bars.set(xlabel="answer", ylabel="how often", xticks=range(10), ylim=(0, 1.12 * counts.max()))
    ways = f"In {len(answers)} batches, by batch statistics (by population: {constant}, always)"
    bars.set_title(ways)
    return figure
