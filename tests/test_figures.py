import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bn_tutorial import figures
from bn_tutorial.training import History


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def histories(generator):
    steps = np.arange(0, 500, 50)
    return {
        name: History(steps, generator.uniform(size=10), generator.normal(size=(10, 100)))
        for name in ("without BN", "naive BN")
    }


def notes(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_accuracy(histories):
    (ax,) = figures.plot_accuracy(histories, "title").axes
    for line, (name, history) in zip(ax.lines, histories.items(), strict=True):
        np.testing.assert_array_equal(line.get_xydata().T, [history.steps, history.test_accuracy])
        assert line.get_color() == figures.COLORS[name]


def test_activation_inputs_share_their_axes_in_a_row(histories):
    axes = np.reshape(figures.plot_activation_inputs(histories).axes, (5, 2))
    for unit, row in enumerate(axes):
        assert row[0].get_ylim() == row[1].get_ylim()
        for ax, history in zip(row, histories.values(), strict=True):
            drawn = ax.lines[0].get_ydata()
            np.testing.assert_array_equal(drawn, history.activation_inputs[:, unit])


def test_digits_are_described_as_far_as_they_are_drawn(generator):
    images = generator.uniform(size=(12, 784))
    figure = figures.plot_digits(images, np.arange(12), "title")
    assert [ax.get_title() for ax in figure.axes] == [str(number) for number in range(10)]
    assert figure.get_label() == "title: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."
    drawn = figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(drawn, images[1].reshape(28, 28))
    figures.plot_digits(images[:3], ["a", "b", "c"], "fewer")
    figures.plot_digits(images[:0], [], "none at all")


def test_accuracy_bands(histories):
    without, naive = histories.values()
    groups = {("without BN", "a"): [without, naive], ("naive BN", "b"): [naive]}
    (ax,) = figures.plot_accuracy_bands(groups, "title", ylim=(0, 1)).axes
    both = np.array([without.test_accuracy, naive.test_accuracy])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), both.mean(axis=0))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (both.min(), both.max())
    assert len({line.get_linestyle() for line in ax.lines}) == 2


def test_rate_grid():
    grid = np.array([[0.1, 0.9, np.nan]])
    figure = figures.plot_rate_grid({"without BN": grid, "fixed BN": grid}, [1], [0.1, 1, 3], "t")
    for ax in figure.axes[:2]:
        assert notes(ax) == ["0.10", "0.90", "×"]


def test_accuracy_by_training_batch():
    results = {"batch": {2: [0.5, 0.7], 60: [0.9, 0.8]}, "precise": {2: [0.8], 60: [0.9]}}
    (ax,) = figures.plot_accuracy_by_training_batch(results, 1000).axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.6, 0.85])


def test_networks_that_are_not_known_get_colors_of_their_own(histories):
    history = histories["naive BN"]
    three = {"mine": history, "naive BN": history, "yours": history}
    (ax,) = figures.plot_accuracy(three, "title").axes
    colors = [line.get_color() for line in ax.lines]
    assert len(set(colors)) == 3
    assert colors[1] == figures.COLORS["naive BN"]


NAMES = [str(number) for number in range(8)]  # one more than there are colours


@pytest.mark.parametrize("marked", [False, True])
def test_series_differ_in_their_looks(marked):
    styles = figures.series_styles(NAMES, marked)
    assert list(styles) == NAMES
    assert len({(style["color"], style["linestyle"]) for style in styles.values()}) == len(NAMES)


@pytest.mark.parametrize(
    "plot",
    [
        lambda one: figures.plot_accuracy_by_training_batch(
            {name: {2: [0.5]} for name in NAMES}, 10
        ),
        lambda one: figures.plot_accuracy_bands(
            {("naive BN", name): [one] for name in NAMES}, "title", ylim=(0, 1)
        ),
    ],
)
def test_every_series_is_drawn_however_many(plot, histories):
    figure = plot(histories["naive BN"])
    (legend,) = figure.legends or [ax.get_legend() for ax in figure.axes]
    labels = " ".join(text.get_text() for text in legend.get_texts())
    assert all(re.search(rf"\b{name}\b", labels) for name in NAMES)


def test_columns():
    (ax,) = figures.plot_columns(np.array([[1.0, 10], [3, 30]])).axes
    numbers = [[float(number) for number in re.findall(r"[\d.]+", note)] for note in notes(ax)]
    assert numbers == [[1], [10], [3], [30], [2, 1], [20, 100]]  # means and variances below


def test_inputs_over_slope():
    inputs = {"without BN": np.array([-50.0, 0.5, 0.5, 7.5]), "naive BN": np.zeros([2, 3])}
    first, second = figures.plot_inputs_over_slope(inputs).axes
    heights = {patch.get_x(): patch.get_height() for patch in first.patches}
    assert (heights[-20], heights[0], heights[7]) == (0.25, 0.5, 0.25)  # -50 is drawn at the edge
    assert sum(patch.get_height() for patch in second.patches) == pytest.approx(1)
    z, slope = first.lines[0].get_data()
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-z)) * (1 - 1 / (1 + np.exp(-z))), atol=1e-12)


def test_shared_statistics():
    figure = figures.plot_shared_statistics()
    counts = [int(re.search(r"\d+", ax.get_title())[0]) for ax in figure.axes]
    assert counts == [16, 6, 12, 4, 6]
    (ax,) = figures.plot_shared_statistics("instance").axes
    (patch,) = ax.patches
    assert (patch.get_width(), patch.get_height()) == (1, 4)


def test_by_layer(generator):
    values = {"a": generator.uniform(1, 2, size=(3, 5)), "b": generator.uniform(1, 2, size=(2, 4))}
    figure = figures.plot_by_layer(values, "t", "layer", "norm", {"theory": np.ones(5)}, "log")
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), values["a"].mean(axis=0))
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), np.ones(5))


def test_by_layer_a_network_has_its_colour_whatever_is_measured(generator):
    names = ["size, without BN", "spread, without BN", "spread, with BN"]
    values = {name: generator.uniform(1, 2, size=(1, 5)) for name in names}
    (ax,) = figures.plot_by_layer(values, "t", "layer", "signal").axes
    without, also_without, with_bn = ax.lines
    assert without.get_color() == also_without.get_color() == figures.COLORS["without BN"]
    assert with_bn.get_color() == figures.COLORS["with BN"]
    assert without.get_linestyle() != also_without.get_linestyle()
