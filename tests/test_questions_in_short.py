"""What of the answers of *Try it yourself* holds on few steps of the embedded digits.

What is asserted is the direction, where it must show as early as that, and the line says why it
must; `python -m tools.margins tests/test_questions_in_short.py` says how safe it is.
`python -m tools.try_it_yourself --check` compares the numbers.
"""

import os

import numpy as np
import pytest

from tools.try_it_yourself.questions import Settings, load_questions

pytestmark = pytest.mark.slow  # most of them train
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
QUESTIONS = load_questions()


def short(number, budget=0.01, most_seeds=1):
    """A question on few steps; all numbers that come out are finite."""
    found = QUESTIONS[number].answer(Settings(budget, "digits", most_seeds))
    for name, result in found.items():
        assert isinstance(result, str) or np.all(np.isfinite(result)), name
    return {name: np.mean(r) if isinstance(r, list) else r for name, r in found.items()}


def test_01_1():
    """Whose weights are better needs the full run: on the digits both learn within a few steps."""
    found = short("01.1", budget=0.0125)
    assert abs(found["gap, glorot"]) < 0.1


def test_01_2():
    found = short("01.2")
    # At a hundredth of the rate the network has gone a hundredth of the way.
    assert found["naive BN, rate 0.1"] > found["naive BN, rate 0.001"] > 0.5


def test_01_3():
    found = short("01.3", most_seeds=2)
    assert found["answered"] == found["forecast"]
    assert found["share of the hundred as forecast"] == 1
    counts = [value for name, value in found.items() if "forecast is class" in name]
    assert sum(counts) == 2


def test_01_4():
    found = short("01.4")
    assert found["largest distance of z from its mean"] == 0
    assert found["share of the answers as forecast"] == 1
    assert found["accuracy in batches of 2 different images"] > 0.25


def test_02_1():
    """Where curves meet within 0.01 needs the full run: 0.01 is four of these digits."""
    found = short("02.1", budget=0.1, most_seeds=2)
    assert all(0 <= found[f"steps until they meet, {d}"] <= 1_000 for d in (0.9, 0.99, 0.999))


def test_02_2():
    found = short("02.2", budget=0.1)
    # Of the population's start 0.999^100 = 90% is left.
    assert found["the hundred, in one batch"] > found["the hundred, one by one"] + 0.05
    assert (
        found["the test set, by its own statistics"]
        > found["the test set, by the population"] + 0.05
    )


def test_02_3():
    found = short("02.3", budget=0.3)
    # The restored population is still mean 0 and variance 1, far from what the layers are fed.
    assert found["restored"] < found["saved"]
    assert found["population estimated anew"] > 0.8
    assert found["numbers that are lost"] == 400


def test_02_4():
    """How far each rate gets needs the full run."""
    assert len(short("02.4", budget=0.05)) == 2 * 2


def test_03_1():
    found = short("03.1", budget=0.1)
    assert abs(found["fixed BN, σ = 1/√inputs"] - found["fixed BN, Glorot"]) < 0.05
    assert "steps to 90%" in " ".join(found)


def test_03_2(monkeypatch):
    """On a quarter of the map."""
    from tools.try_it_yourself import chapter_03

    for name in ("SCALES", "RATES"):
        monkeypatch.setattr(chapter_03, name, getattr(chapter_03, name)[::2])
    found = short("03.2")
    # BN divides the weights' scale out, so rows without BN that never learn, learn with it.
    cells = [found[f"{name}, cells of 40 after 200"] for name in ("without BN", "fixed BN")]
    assert cells[0] < cells[1]


def test_03_3():
    found = short("03.3", budget=0.1)
    # Even noisy BN keeps sigmoids from saturating, and early on that is what counts.
    steps = next(name for name in found if name.startswith("NOISE 2, after")).split(", ")[1]
    assert found[f"NOISE 2, {steps}"] > found[f"without BN, {steps}"]
    assert found["NOISE 2, mean of the run"] > found["without BN, mean of the run"]


def test_03_4():
    found = QUESTIONS["03.4"].answer(Settings())
    small = found["standard deviation of the outputs, a = 0.01"]
    np.testing.assert_allclose(small, found["predicted"], rtol=1e-6)
    assert max(small) < min(found["standard deviation of the outputs, a = 1"])
    assert found["gradient, times that of a = 1"] < 90
    assert np.log10(min(found["share of the gradient along the weights"])) > -5  # no rounding error


def test_04_1():
    found = short("04.1", budget=0.3)
    assert min(value for name, value in found.items() if "after 900 steps" in name) > 0.85
    assert sum("points from one record" in name for name in found) == 3


def test_04_2():
    found = short("04.2", budget=0.1)
    everything, few = (
        f"statistics of {kind}" for kind in ("all darkened digits", "darkened 0 to 4")
    )
    # Statistics of five classes are those of other images than the ten that are tested.
    assert found[everything] > found[few]


def test_04_3():
    found = short("04.3", budget=0.01, most_seeds=3)
    for way in ("batch", "precise"):
        two, sixty = (
            found[f"batches of {size}, 10,000 samples, {way} statistics"] for size in (2, 60)
        )
        assert two < sixty  # normalised, two samples are always ±1: their values are lost


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_05_1():
    found = short("05.1", budget=0.3)
    assert found["momentum 0.99, findings"] == "slow-momentum"
    for momentum in (0.9, 0.99):
        assert found[f"momentum {momentum}, recalibrated"] == pytest.approx(
            found[f"momentum {momentum}, by batches"], abs=0.1
        )


def test_05_2():
    """Which normalization is ahead needs the full run: on few digits they are a digit apart."""
    assert len(short("05.2", budget=0.1)) == 4 * 2


def test_05_3():
    found = short("05.3", budget=0.1)
    kinds = ("folded", "folded, not trained", "folded, ReLU last")
    assert [found[kind] for kind in kinds] == [1, 2, 2]


def test_06_1():
    found = short("06.1", budget=0.03, most_seeds=2)
    for batch, shares in ((64, (64, 8, 2)), (256, (256, 8, 2))):
        whole, eight, two = (
            found[f"batch {batch}, {batch // share} replicas, share {share}"] for share in shares
        )
        assert two < eight  # again ±1 in every share of two
        assert abs(whole - eight) < 0.05


def test_06_2():
    found = short("06.2", budget=0.3)
    assert found["predicted spread of 0.9 over that of 0.99"] == pytest.approx(3.24, abs=0.01)
    assert found["decay 0.9, 100 steps, as the cell prints it"] == pytest.approx(1, abs=0.4)
    assert found["decay 0.99, 50 steps, variance without its start"] < 1


@posix
@pytest.mark.workers
def test_06_3():
    found = short("06.3")
    assert found["the chief"] == "worker 0 was killed by SIGKILL"
    assert 0 < found["seconds until the other ended"] < 30
    assert "Error" in found["the other said"]


@posix
@pytest.mark.workers
def test_06_4():
    found = short("06.4")
    assert "worker 1 gave no sign of life" in found["the command"]
    assert 4 < found["seconds until it ended"] < 15


def test_07_1(monkeypatch):
    from tools.try_it_yourself import chapter_07

    monkeypatch.setattr(chapter_07, "DEPTHS", (2, 10))
    monkeypatch.setattr(chapter_07, "RATES", (0.001, 0.003))
    found = short("07.1", budget=0.3)
    assert found["fixed BN, 10 layers, best"] > 0.8
    assert found["fixed BN, 2 layers, best"] > 0.8


def test_07_2(monkeypatch):
    from tools.try_it_yourself import chapter_07

    monkeypatch.setattr(chapter_07, "BLOCKS", 6)
    found = short("07.2", budget=0.5)
    assert min(found[f"{name}, rate 0.003"] for name in ("BN", "SkipInit", "both")) > 0.7


def test_07_3():
    found = short("07.3", budget=0.05)
    # Weights settle where decay and rate balance: the smaller the rate, the shorter they are.
    shares = [found[f"ε over the variance of z, rate {rate}"] for rate in (0.003, 0.03, 0.3)]
    assert shares[0] > shares[1] > shares[2] > 0


def test_08_1():
    found = short("08.1")
    assert found["the check says"] == "cancellation"
    assert found["mean relative error, mean of 100"] < 0.01
    assert found["mean relative error, mean of 3,000"] > 0.1


def test_08_2():
    found = short("08.2")
    assert found["batches of 2"] == pytest.approx(2)
    assert found["batches of 60"] == pytest.approx(60 / 59)
