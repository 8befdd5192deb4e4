"""Images, as they are and as they are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def plot_digits(images: np.ndarray, titles: Sequence[object], title: str) -> Figure:
    """The first ten of some images, in a row.

    Args:
        images: float `[n, 784]`.
        titles: what to write above each, `[n]`.
        title: of the figure.
    """
    figure, axes = plt.subplots(1, 10, figsize=(10, 1.6), layout="constrained")
    for ax in axes:
        ax.axis("off")
    drawn = [str(name) for name in titles[: len(axes)]]
    for ax, image, name in zip(axes, images, drawn, strict=False):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(name)
    figure.suptitle(title)
    figure.set_label(f"{title}: {', '.join(drawn)}.")
    return figure


def plot_answers(image: np.ndarray, answers: Sequence[int], constant: int) -> Figure:
    """One image, and how often each class was the answer to it.

    Args:
        image: float `[784]`.
        answers: by batch statistics, one for each batch the image was in.
        constant: the answer by population statistics.
    """
    figure, (shown, bars) = plt.subplots(
        1, 2, figsize=(8, 3), width_ratios=(1, 2.4), layout="constrained"
    )
    shown.imshow(np.reshape(image, (28, 28)), cmap="gray_r", vmin=0, vmax=1)
    shown.set(title="the image", xticks=[], yticks=[])
    shown.grid(visible=False)
    counts = np.bincount(answers, minlength=10)
    colors = ["#0072B2" if number == constant else "#D55E00" for number in range(10)]
    drawn = bars.bar(range(10), counts, color=colors)
    bars.bar_label(drawn, [str(count) if count else "" for count in counts])
    bars.set(xlabel="answer", ylabel="how often", xticks=range(10), ylim=(0, 1.12 * counts.max()))
    ways = f"In {len(answers)} batches, by batch statistics (by population: {constant}, always)"
    bars.set_title(ways)
    return figure
