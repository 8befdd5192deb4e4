"""Images, as they are and as they are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def plot_digits(images: np.ndarray, titles: Sequence[object], title: str) -> Figure:
    """Up to ten images, in a row.

    Args:
        images: float `[n, 784]`.
        titles: what to write above each, `[n]`.
        title: of the figure.
    """
    figure, axes = plt.subplots(1, 10, figsize=(10, 1.6), layout="constrained")
    for ax in axes:
        ax.axis("off")
    for ax, image, label in zip(axes, images, titles, strict=False):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(str(label))
    figure.suptitle(title)
    return figure
