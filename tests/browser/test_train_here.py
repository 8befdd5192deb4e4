"""The experiment that the page trains, in a real browser."""

import re

import numpy as np
import pytest
import tensorflow as tf
from selenium.webdriver.support.ui import WebDriverWait

from bn_tutorial import mnist, networks, training
from bn_tutorial.interactive import train_here
from tests.browser.conftest import resize, screenshots

NO_WORKER = {  # how a page refuses one
    "at once": "constructor() { throw new Error('refused'); }",
    "later": "constructor() { setTimeout(() => this.onerror()); } postMessage() {}",
}
SETTINGS = {
    "rate": 0.01,
    "batch": 60,
    "deviation": 1,
    "scheme": "normal",
    "activation": "sigmoid",
    "decay": 0.999,
    "seed": 0,
}
BY = {"plain": "plain", "naive": "batch", "fixed": "population"}  # in the names of readings
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
def open_experiment(show, experiment):
    """A function that opens it, alone on a page; the options are those of `show`."""
    return lambda **options: wait_for(show(experiment, **options)[0], 0)


@pytest.fixture
def part(open_experiment):
    return open_experiment()


def control(part, name):
    return part.one(f'[data-control="{name}"]')


def setting(part, name):
    return control(part, name).get_attribute("value")


def reading(part, name):
    return part.one(f'[data-value="{name}"]').text


def accuracies(part):
    """Shown of the three networks: the one without BN, naive BN, fixed BN."""
    return [float(reading(part, f"accuracy-{by}")) for by in BY.values()]


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


def step_to(part, steps):
    control(part, "step").click()
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
    weights = [
        np.reshape(matrix, (-1, units)).astype(np.float32)
        for matrix, units in zip(found["weights"], (100, 100, 10), strict=True)
    ]
    activation = tf.nn.relu if changes.get("activation") == "relu" else tf.sigmoid
    rate, decay = SETTINGS["rate"], changes.get("decay", SETTINGS["decay"])
    plain = networks.PlainNetwork(weights, activation=activation)
    fixed = networks.BatchNormNetwork(weights, decay=decay, activation=activation)
    images = np.reshape(found["train"], (-1, 196)).astype(np.float32)
    classes = np.array(found["classes"], np.int32)
    step = training.gradient_descent_step
    losses = [
        [step(network, images[batch], classes[batch], rate) for network in (plain, fixed)]
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
    assert all(0.8 < accuracy < 1 for accuracy in accuracies(part))
    for by in ("plain", "batch"):
        assert reading(part, f"accuracy-{by}") in part.one(".status").text
    assert len({cell.text for cell in part.all("tr.naive td")}) == 1
    for name, by in BY.items():
        assert reading(part, f"alone-{by}") == part.one(f"tr.{name} td.picked").text
    assert len(part.all("tr.fixed td.right")) >= 7
    assert control(part, "play").get_attribute("aria-pressed") == "false"
    control(part, "play").click()  # and beyond
    WebDriverWait(part.browser, 60).until(lambda _: int(reading(part, "steps")) > 2000)
    control(part, "pause").click()


def test_step_by_step_and_again(part):
    seen = []
    for _ in range(2):
        seen.append([readings(part)])
        for steps in (1, 2, 3):
            step_to(part, steps)
            seen[-1].append(readings(part))
        control(part, "reset").click()
        wait_for(part, 0)
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][-1]


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
    step_to(part, 1)
    type_in(part, "rate", 0.2)
    type_in(part, "batch", 7)
    step_to(part, 2)
    type_in(part, "deviation", 0.5)
    wait_for(part, 0)
    assert [setting(part, name) for name in ("preset", "rate", "batch")] == ["own", "0.2", "7"]


@pytest.mark.parametrize(("typed", "taken"), [("0", "0.001"), ("5", "1"), ("", "0.01")])
def test_a_number_out_of_range_goes_to_its_end_and_none_to_what_was_there(part, typed, taken):
    type_in(part, "rate", typed)
    assert setting(part, "rate") == taken
    step_to(part, 1)


def test_the_address_keeps_the_settings(open_experiment, part, browser):
    choose(part, "preset", "pairs")
    assert browser.current_url.endswith("#train-here?preset=pairs")
    type_in(part, "rate", 0.05)
    anchor = browser.current_url.partition("#")[2]
    browser.get("about:blank")
    again = open_experiment(anchor=f"#{anchor}")
    settings = [setting(again, name) for name in ("preset", "rate", "batch", "scheme")]
    assert settings == ["own", "0.05", "2", "normal"]
    browser.execute_script("location.hash = '#train-here?preset=glorot'")
    WebDriverWait(browser, 60).until(lambda _: setting(again, "scheme") == "glorot")
    assert setting(again, "preset") == "glorot"


@pytest.mark.parametrize("anchor", ["#train-here?preset=no&rate=x&batch=0.5&seed=-1", "#else", ""])
def test_an_address_that_makes_no_sense_is_passed_over(open_experiment, anchor):
    part = open_experiment(anchor=anchor)
    assert [setting(part, name) for name in ("preset", "rate")] == ["article", "0.01"]


@pytest.mark.parametrize(
    ("preset", "language"),
    [("glorot", "en"), ("rate", "en"), ("pairs", "zh-CN"), ("short", "en"), ("short", "zh-CN")],
)
def test_presets_ask_first_and_then_say_what_came_out(open_experiment, preset, language):
    part = open_experiment(language=language)
    choose(part, "preset", preset)
    assert part.one(".ask").text
    assert part.one(".status").text == ""
    run_to(part, {"glorot": 2000, "rate": 500, "pairs": 3000, "short": 200}[preset])
    said = part.one(".status").text
    assert not re.search(r"[{}]|undefined|NaN", said)
    plain, naive, fixed = accuracies(part)
    if preset == "rate":
        assert naive > plain + 0.1
    if preset == "pairs":
        assert naive < plain
    if preset == "short":
        assert fixed < naive - 0.3
    assert f"{naive:.3f}" in said


@pytest.mark.parametrize("refused", NO_WORKER)
def test_without_a_worker_it_trains_all_the_same(open_experiment, browser, refused):
    script = {"source": f"Worker = class {{ {NO_WORKER[refused]} }};"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        part = open_experiment()
        choose(part, "preset", "short")
        run_to(part, 200)
        assert accuracies(part)[1] > 0.7
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
def test_looks(open_experiment, browser, width, theme, language):
    resize(browser, width)
    part = open_experiment(theme=theme, language=language)
    choose(part, "preset", "short")
    run_to(part, 200)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    screenshots(browser, f"train-here-{theme}-{width}", width)
