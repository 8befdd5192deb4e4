"""The experiment that the page trains, in a real browser."""

import re

import numpy as np
import pytest
import tensorflow as tf
from selenium.webdriver.support.ui import WebDriverWait

from bn_tutorial import mnist, networks, training
from bn_tutorial.interactive import train_here
from tests.browser.conftest import resize, screenshots

NO_WORKER = {"source": "Worker = class { constructor() { throw new Error('refused'); } };"}
SETTINGS = {
    "rate": 0.01,
    "batch": 60,
    "deviation": 1,
    "scheme": "normal",
    "activation": "sigmoid",
    "decay": 0.999,
    "seed": 0,
}
# At a rate of 0.1 float32 is not enough: its rounding grows to percents of the loss in 100 steps.
RUNS = {
    "the article": {},
    "Glorot": {"scheme": "glorot"},
    "ReLU": {"scheme": "glorot", "activation": "relu"},
    "batches of three": {"batch": 3, "decay": 0.9},
    "small weights": {"deviation": 0.05},
}


@pytest.fixture(scope="module")
def data(real_mnist):  # noqa: ARG001 - skips where MNIST can't be had
    return mnist.load_mnist(source="mnist")


@pytest.fixture(scope="module")
def experiment(data):
    return train_here(data).html


@pytest.fixture
def part(show, experiment):
    """The experiment, alone on a page."""
    return wait_for(show(experiment)[0], 0)


def control(part, name):
    return part.one(f'[data-control="{name}"]')


def reading(part, name):
    return part.one(f'[data-value="{name}"]').text


def readings(part):
    return {node.get_attribute("data-value"): node.text for node in part.all("[data-value]")}


def wait_for(part, steps):
    """Until the page shows that so many steps are trained."""
    WebDriverWait(part.browser, 180, 0.1).until(
        lambda _: [node.text for node in part.all('[data-value="steps"]')] == [str(steps)]
    )
    return part


def run_to(part, steps):
    control(part, "play").click()
    wait_for(part, steps)


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
def test_it_trains_as_tensorflow_does(part, changes):
    """From the same weights and batches: losses, accuracies and population statistics."""
    found = part.script(
        """
        const [root, changes] = arguments;
        const { Experiment } = root.bnTutorial.training();
        const plain = (arrays) => arrays.map((array) => [...array]);
        return root.bnTutorial.digits.then((digits) => {
          const run = new Experiment(digits, changes);
          const weights = plain(run.plain.layers.map((layer) => layer.weights));
          const batches = [], losses = [], next = run.nextBatch.bind(run);
          run.nextBatch = () => { batches.push(next()); return batches.at(-1); };
          for (let step = 0; step < 100; step++) { run.step(); losses.push(run.losses); }
          const population = run.normalized.layers.slice(0, 2).map(
            (layer) => plain([layer.population.mean, layer.population.variance]));
          return { weights, batches, losses, population, accuracy: run.records.at(-1).accuracy,
            train: [...digits.train.images], test: [...digits.test.images],
            classes: digits.train.classes, testClasses: digits.test.classes };
        });
        """,
        SETTINGS | changes,
    )
    sizes = (196, 100, 100, 10)
    shapes = zip(sizes[:-1], sizes[1:], strict=True)
    weights = [
        np.reshape(matrix, shape).astype(np.float32)
        for matrix, shape in zip(found["weights"], shapes, strict=True)
    ]
    activation = tf.nn.relu if changes.get("activation") == "relu" else tf.sigmoid
    rate, decay = SETTINGS["rate"], changes.get("decay", SETTINGS["decay"])
    plain = networks.PlainNetwork(weights, activation=activation)
    fixed = networks.BatchNormNetwork(weights, decay=decay, activation=activation)
    images = np.reshape(found["train"], (-1, 196)).astype(np.float32)
    classes = np.array(found["classes"], np.int32)
    losses = [
        [
            float(training.gradient_descent_step(network, images[batch], classes[batch], rate))
            for network in (plain, fixed)
        ]
        for batch in found["batches"]
    ]
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-4, atol=1e-4)
    for layer, (mean, variance) in zip(fixed.layers, found["population"], strict=True):
        np.testing.assert_allclose(mean, layer.batch_norm.pop_mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(variance, layer.batch_norm.pop_var, rtol=1e-4, atol=1e-4)
    test_images = np.reshape(found["test"], (-1, 196)).astype(np.float32)
    for name, logits in {
        "plain": plain(test_images, is_training=False),
        "fixed": fixed(test_images, is_training=False),
        "naive": fixed(test_images, is_training=True),
    }.items():
        right = np.argmax(logits, axis=1) == found["testClasses"]
        assert found["accuracy"][name] == pytest.approx(right.mean(), abs=1e-4)


def test_the_article(part):
    """Up to the preset's end, where it says what came out; naive BN has one answer for all."""
    assert part.one(".status").text == ""
    run_to(part, 2000)
    values = readings(part)
    for name in ("plain", "batch", "population"):
        assert 0.8 < float(values[f"accuracy-{name}"]) < 1
        assert values[f"accuracy-{name}"] in part.one(".status").text or name == "population"
    assert len({cell.text for cell in part.all("tr.naive td")}) == 1
    picked = [int(part.one(f"tr.{row} td.picked").text) for row in ("plain", "naive", "fixed")]
    assert [int(values[f"alone-{name}"]) for name in ("plain", "batch", "population")] == picked
    assert len(part.all("tr.fixed td.right")) >= 7
    assert control(part, "play").get_attribute("aria-pressed") == "false"
    control(part, "play").click()  # and beyond
    WebDriverWait(part.browser, 60).until(lambda _: int(reading(part, "steps")) > 2000)
    control(part, "pause").click()


def test_step_by_step_and_again(part):
    start = readings(part)
    for steps in (1, 2, 3):
        control(part, "step").click()
        wait_for(part, steps)
    after = readings(part)
    assert after != start
    control(part, "reset").click()
    wait_for(part, 0)
    assert readings(part) == start
    for steps in (1, 2, 3):
        control(part, "step").click()
        wait_for(part, steps)
    assert readings(part) == after


def test_a_run_does_not_depend_on_when_one_looks(part):
    """Two runs of a preset end in the same numbers, though one was interrupted."""
    choose(part, "preset", "short")
    run_to(part, 200)
    first = readings(part), part.one(".status").text
    control(part, "reset").click()
    control(part, "play").click()
    control(part, "pause").click()
    run_to(part, 200)
    assert (readings(part), part.one(".status").text) == first


def choose(part, name, value):
    control(part, name).find_element("css selector", f'option[value="{value}"]').click()
    wait_for(part, 0)


def type_in(part, name, value):
    code = """
        const field = arguments[0].shadowRoot.querySelector(`[data-control="${arguments[1]}"]`);
        field.value = arguments[2];
        field.dispatchEvent(new Event("input"));
        field.dispatchEvent(new Event("change"));
    """
    part.script(code, name, str(value))


def test_what_changes_while_it_runs_and_what_starts_again(part):
    for _ in range(2):
        control(part, "step").click()
    wait_for(part, 2)
    type_in(part, "rate", 0.2)
    type_in(part, "batch", 7)
    control(part, "step").click()
    wait_for(part, 3)
    type_in(part, "deviation", 0.5)
    wait_for(part, 0)
    assert control(part, "preset").get_attribute("value") == "own"
    kept = [control(part, name).get_attribute("value") for name in ("rate", "batch")]
    assert kept == ["0.2", "7"]


@pytest.mark.parametrize(("typed", "taken"), [("0", "0.001"), ("5", "1"), ("", "0.01")])
def test_a_number_out_of_range_goes_to_its_end_and_none_to_what_was_there(part, typed, taken):
    type_in(part, "rate", typed)
    assert control(part, "rate").get_attribute("value") == taken
    control(part, "step").click()
    wait_for(part, 1)


def test_the_address_keeps_the_settings(show, experiment, browser):
    part = wait_for(show(experiment)[0], 0)
    choose(part, "preset", "pairs")
    assert browser.current_url.endswith("#train-here?preset=pairs")
    type_in(part, "rate", 0.05)
    anchor = browser.current_url.partition("#")[2]
    browser.get("about:blank")
    (again,) = show(experiment, anchor=f"#{anchor}")
    wait_for(again, 0)
    assert control(again, "preset").get_attribute("value") == "own"
    settings = [control(again, name).get_attribute("value") for name in ("rate", "batch", "scheme")]
    assert settings == ["0.05", "2", "normal"]
    browser.execute_script("location.hash = '#train-here?preset=glorot'")
    WebDriverWait(browser, 60).until(
        lambda _: control(again, "scheme").get_attribute("value") == "glorot"
    )
    assert control(again, "preset").get_attribute("value") == "glorot"


@pytest.mark.parametrize("anchor", ["#train-here?preset=no&rate=x&batch=0.5&seed=-1", "#else", ""])
def test_an_address_that_makes_no_sense_is_passed_over(show, experiment, anchor):
    (part,) = show(experiment, anchor=anchor)
    wait_for(part, 0)
    assert control(part, "preset").get_attribute("value") == "article"
    assert control(part, "rate").get_attribute("value") == "0.01"


@pytest.mark.parametrize(
    ("preset", "language"),
    [("glorot", "en"), ("rate", "en"), ("pairs", "zh-CN"), ("short", "en"), ("short", "zh-CN")],
)
def test_presets_ask_first_and_then_say_what_came_out(show, experiment, preset, language):
    (part,) = show(experiment, language=language)
    wait_for(part, 0)
    choose(part, "preset", preset)
    assert part.one(".ask").text
    assert part.one(".status").text == ""
    run_to(part, {"glorot": 2000, "rate": 500, "pairs": 3000, "short": 200}[preset])
    said = part.one(".status").text
    assert not re.search(r"[{}]|undefined|NaN", said)
    batch, plain = (float(reading(part, f"accuracy-{name}")) for name in ("batch", "plain"))
    population = float(reading(part, "accuracy-population"))
    if preset == "rate":
        assert batch > plain + 0.1
    if preset == "pairs":
        assert batch < plain
    if preset == "short":
        assert population < batch - 0.3
    assert f"{batch:.3f}" in said


def test_without_a_worker_it_trains_all_the_same(show, experiment, browser):
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", NO_WORKER)
    try:
        (part,) = show(experiment)
        wait_for(part, 0)
        choose(part, "preset", "short")
        run_to(part, 200)
        assert float(reading(part, "accuracy-batch")) > 0.7
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_small_form(show, data):
    (part,) = show(train_here(data, small=True).html)
    wait_for(part, 0)
    assert not part.all('[data-control="rate"]')
    choose(part, "preset", "short")
    run_to(part, 200)
    assert part.one(".status").text


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize(("theme", "language"), [("light", "en"), ("dark", "zh-CN")])
def test_looks(show, experiment, browser, width, theme, language):
    resize(browser, width)
    (part,) = show(experiment, theme=theme, language=language)
    wait_for(part, 0)
    choose(part, "preset", "short")
    run_to(part, 200)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    screenshots(browser, f"train-here-{theme}-{width}", width)
