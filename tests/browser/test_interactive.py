"""The digit to draw, in a real browser."""

import re

import nbformat
import numpy as np
import pytest
import tensorflow as tf
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.action_chains import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from bn_tutorial import mnist, networks, training
from bn_tutorial.interactive import draw_a_digit
from bn_tutorial.interactive.digits import _choose_images, batch_logits
from tests.browser.conftest import ROOT, resize, screenshot, screenshots
from tests.browser.fragments import Part
from tests.browser.handwriting import HANDWRITING
from tests.browser.logs import network as network_log

NO_ANSWERS = ["–", "–"]


@pytest.fixture(scope="module")
def data(real_mnist):  # noqa: ARG001 - skips where MNIST can't be had
    return mnist.load_mnist(source="mnist")


@pytest.fixture(scope="module")
def network(data):
    """The network of chapter 2."""
    fixed = networks.BatchNormNetwork(networks.initial_weights(0))
    training.train({"fixed BN": fixed}, data, steps=10_000)
    return fixed


@pytest.fixture(scope="module")
def drawing(network, data):
    return draw_a_digit(network, data.test).html


@pytest.fixture
def part(show, drawing):
    """The digit to draw, alone on a page."""
    return show(drawing)[0]


def test_logits_by_population_statistics_are_tensorflows(part, network, data):
    found = part.logits(data.test.pixels[:100], use_batch=False)
    images = data.test.images[:100]
    _require_close(found, rounded(network)(images, is_training=False), 1e-4)
    _require_close(found, network(images, is_training=False), 1e-2)


def _require_close(found, expected, share):
    """To this share of the largest logit; of two classes closer than that, either is right."""
    expected = np.array(expected)
    allowed = share * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    first, second = np.sort(expected, axis=1)[:, :-3:-1].T
    clear = first - second > 2 * allowed
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(found.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


def rounded(network):
    """The same network with the float16 numbers that the page has."""
    copy = networks.BatchNormNetwork(networks.initial_weights(1))
    for mine, yours in zip(copy.variables, network.variables, strict=True):
        mine.assign(yours.numpy().astype(np.float16))
    return copy


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "one class"])
def test_logits_by_batch_statistics_are_tensorflows(part, network, data, generator, mixed):
    """In a batch of two, BN leaves little but the sign of the difference between the two.

    Rounding a weight can turn the sign round, so there only TensorFlow with the rounded weights is
    compared. From three on, TensorFlow with the network's own weights is, too.
    """
    for label, size in enumerate((2, 3, 5, 10, 16, 20, 30, 40, 50, 60)):
        everybody = np.arange(len(data.test))
        candidates = everybody if mixed else np.flatnonzero(data.test.classes == label)
        chosen = generator.choice(candidates, size, replace=False)
        found = part.logits(data.test.pixels[chosen], use_batch=True)
        images = data.test.images[chosen]
        _require_close(found, batch_logits(rounded(network), images), 1e-3)
        if size > 2:
            _require_close(found, batch_logits(network, images), 1e-2)


def test_the_bars_are_tensorflows(part, network, data):
    """What is seen of the digit: in the batch with these companions, and by itself."""
    images = data.test.images[_choose_images(data.test, seed=0)]
    with_rounded = rounded(network)
    part.all(".picks button")[2].click()
    digit = images[12:13]
    for count in (2, 7, 20, 59):
        part.set_companions(count)
        batch = np.concatenate([digit, images[part.companions()]])
        for way, logits in (
            ("naive", batch_logits(with_rounded, batch)),
            ("fixed", with_rounded(digit, is_training=False)),
        ):
            expected = 100 * tf.nn.softmax(logits[0]).numpy()
            np.testing.assert_allclose(part.percentages(way), expected, rtol=0, atol=1)


def test_nothing_is_answered_before_the_reader_has_guessed(part):
    assert part.answers() == NO_ANSWERS
    assert not part.image().any()


def test_alone_naive_bn_always_answers_the_same(part):
    answers = []
    for pick in part.all(".picks button"):
        pick.click()
        answers.append(part.answers())
    naive, fixed = (set(of_one) for of_one in zip(*answers, strict=True))
    assert len(naive) == 1
    assert len(fixed) >= 7
    assert naive.pop() in part.one(".status").text


def test_companions_move_naive_bn_alone(part):
    part.all(".picks button")[0].click()
    bars = []
    for count in (0, 1, 5, 20, 59):
        part.set_companions(count)
        assert len(part.companions()) == count
        bars.append((part.percentages("naive"), part.percentages("fixed")))
    assert len({str(naive) for naive, _ in bars}) == 5
    assert len({str(fixed) for _, fixed in bars}) == 1
    assert re.search(r"\b59\b", part.one(".status").text)


def test_companions_of_one_class_and_others_at_random(show, drawing):
    (part,) = show(drawing)
    part.all(".picks button")[3].click()
    part.set_companions(20)
    mixed = part.companions()
    assert len(set(mixed)) == 20
    part.one(".again").click()
    assert part.companions() != mixed
    part.choose(".controls select", 7)
    assert {i // 6 for i in part.companions()} == {7}
    assert re.search(r"\b6\b.*\b7\b", part.one(".note").text)  # so many images, of which class
    (again,) = show(drawing)
    again.all(".picks button")[3].click()
    again.set_companions(20)
    assert again.companions() == mixed


def test_the_digit_is_not_its_own_companion(part):
    part.all(".picks button")[4].click()
    part.set_companions(59)
    companions = part.companions()
    assert sorted([*companions, 24]) == list(range(60))


def test_a_drawing_is_fitted_as_mnist_is(part):
    part.one(".clear").click()
    assert part.answers() == NO_ANSWERS
    for shift in (0.0, 0.3):  # wherever it is drawn, and however large
        part.one(".clear").click()
        corner = (shift + 0.2, 0.6)
        part.draw([[(shift + 0.2, 0.1), corner], [corner, (shift + 0.4, 0.6)]])
        image = part.image().reshape(28, 28)
        rows, columns = np.nonzero(image > 0.3)
        assert 19 <= np.ptp(rows) + 1 <= 21
        assert 8 <= np.ptp(columns) + 1 <= 11
        down, across = np.indices((28, 28)) + 0.5
        assert abs((image * down).sum() / image.sum() - 14) < 0.1
        assert abs((image * across).sum() / image.sum() - 14) < 0.1
    assert ((image > 0) & (image < 1)).any()  # soft edges


def test_twenty_digits(part, browser):
    """All twenty were read right when this was written; another training may miss some."""
    naive, wrong = set(), []
    for number, (label, strokes) in enumerate(HANDWRITING):
        part.one(".clear").click()
        part.draw(strokes)
        by_batch, by_population = part.answers()
        naive.add(by_batch)
        if by_population != str(label):
            wrong.append(f"drawing {number}, a {label}, is read as {by_population}")
        screenshot(browser, f"drawn-{number:02}")
    assert len(naive) == 1
    assert len(wrong) <= 3, wrong


def test_a_finger_draws(part, browser):
    part.one(".clear").click()
    paper = part.one(".paper").rect
    builder = ActionBuilder(browser, mouse=PointerInput("touch", "finger"), duration=0)
    finger = builder.pointer_action
    finger.move_to_location(round(paper["x"] + 100), round(paper["y"] + 40)).pointer_down()
    for y in range(60, 200, 20):
        finger.move_to_location(round(paper["x"] + 100), round(paper["y"] + y))
    finger.pointer_up()
    builder.perform()
    assert part.answers()[1] == "1"


@pytest.mark.parametrize("selector", [".clear", ".picks button"])
def test_paper_that_is_cleared_under_the_pen_stays_so(part, browser, selector):
    part.one(".clear").click()
    paper = part.one(".paper")
    pen = ActionChains(browser, duration=0)
    pen.move_to_element_with_offset(paper, 0, -50).click_and_hold().move_by_offset(0, 50).perform()
    assert part.answers() != NO_ANSWERS
    by_keyboard = "arguments[0].shadowRoot.querySelector(arguments[1]).click()"
    part.script(by_keyboard, selector)
    cleared = part.image()
    ActionChains(browser, duration=0).move_by_offset(20, 20).release().perform()
    np.testing.assert_array_equal(part.image(), cleared)
    assert browser.get_log("browser") == []
    part.draw([[(0.5, 0.2), (0.5, 0.8)]])
    assert part.answers()[1] == "1"


def test_the_keyboard_is_enough(part, browser):
    focused = "return arguments[0].shadowRoot.activeElement?.className"
    part.one(".clear").send_keys(Keys.ENTER)
    assert part.answers() == NO_ANSWERS
    ActionChains(browser).send_keys(Keys.TAB, Keys.TAB, Keys.ENTER).perform()
    assert part.all(".picks button")[1].get_attribute("aria-pressed") == "true"
    ActionChains(browser).send_keys(Keys.TAB * 9).perform()
    assert part.script(focused) == "count"
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT * 3).perform()
    assert len(part.companions()) == 3


def test_two_copies_do_not_disturb_each_other(show, drawing):
    first, second = show(drawing, drawing)
    first.all(".picks button")[1].click()
    second.all(".picks button")[7].click()
    second.set_companions(5)
    assert [len(part.companions()) for part in (first, second)] == [0, 5]
    assert not np.array_equal(first.image(), second.image())


def test_what_the_sigmoids_are_fed_is_shown_layer_by_layer(part):
    """Who can't see the strip is told the layer and of how many of its 100 units."""
    for layer in (2, 1):
        part.choose(".layer", layer - 1)
        for way in ("naive", "fixed"):
            said = part.one(f".{way} .strip").get_attribute("aria-label")
            assert re.search(rf"\b{way}\b.*\b{layer}\b.*\b100\b", said)


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize(("theme", "language"), [("light", "en"), ("dark", "zh-CN")])
def test_looks(show, drawing, browser, width, theme, language):
    resize(browser, width)
    (part,) = show(drawing, theme=theme, language=language)
    part.all(".picks button")[4].click()
    part.set_companions(12)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert ("dark" in part.one(".panel").get_attribute("class")) == (theme == "dark")
    in_chinese = re.search("[\u4e00-\u9fff]", part.one(".status").text)
    assert bool(in_chinese) == (language == "zh-CN")
    screenshots(browser, f"interactive-{theme}-{width}", width)


@pytest.mark.parametrize(
    "name", ["01_naive_batch_norm", "02_fixed_batch_norm", "zh/02_fixed_batch_norm"]
)
def test_committed_fragments_live_in_the_pages_of_make_run(name, browser, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from html_page import html_page

    page = tmp_path / "page.html"
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    page.write_text(html_page(notebook), encoding="utf-8")
    browser.get(page.as_uri())
    for root in browser.find_elements(By.CSS_SELECTOR, "[data-bn-tutorial]"):
        part = Part(browser, root)
        WebDriverWait(browser, 30).until(lambda _, part=part: part.all("input[type=range]"))
    asked, failed = network_log(browser)
    schemes = {url.partition(":")[0] for url in asked}
    assert schemes <= {"file", "data", "blob"}  # a blob is a worker's script
    assert failed == []
    assert browser.get_log("browser") == []


def test_it_follows_the_page_into_the_dark(part, browser):
    browser.execute_script("document.documentElement.dataset.theme = 'dark'")
    assert "dark" in part.one(".panel").get_attribute("class")
    browser.execute_script("delete document.documentElement.dataset.theme")
    browser.execute_script("document.body.dataset.jpThemeLight = 'true'")
    assert "dark" not in part.one(".panel").get_attribute("class")
