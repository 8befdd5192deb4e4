import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import networks
from bn_tutorial.interactive import Fragment, draw_a_digit, train_here
from bn_tutorial.interactive.digits import batch_logits
from bn_tutorial.interactive.fragments import encode_half_floats
from bn_tutorial.mnist import Dataset, Datasets, load_mnist
from bn_tutorial.training import gradient_descent_step
from tests.variables import unchanged


@pytest.fixture
def network():
    return networks.BatchNormNetwork(networks.initial_weights(0))


@pytest.fixture(params=["draw_a_digit", "train_here"])
def make(request, network, digits):
    """A function that makes a fragment of one kind."""
    return {
        "draw_a_digit": lambda **options: draw_a_digit(network, digits.test, **options),
        "train_here": lambda **options: train_here(digits, **options),
    }[request.param]


def data_of(fragment):
    (data,) = re.findall('<script type="application/json">(.*?)</script>', fragment.html, re.DOTALL)
    return json.loads(data)


def decoded(text, kind=np.uint8):
    return np.frombuffer(base64.b64decode(text), kind)


def committed(kind):
    """The one fragment of this kind in the outputs of the notebooks."""
    outputs = [
        output
        for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    texts = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    (found,) = [text for text in texts if f'data-bn-tutorial="{kind}"' in text]
    return Fragment(kind, found)


def test_sizes(network, real_mnist):
    drawing = draw_a_digit(network, Dataset(real_mnist[2].reshape(-1, 784), real_mnist[3]))
    assert len(drawing.html.encode()) < 380_000
    assert len(train_here(load_mnist(source="mnist")).html.encode()) < 400_000


def test_the_same_bytes_each_time(make):
    assert make().html == make().html


def test_it_asks_for_nothing_from_elsewhere(make):
    text = make().html
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|<link", text)
    sources = re.findall(r'\b(?:src|href)="([^"]{5})', text)
    assert sources == ["data:"]


def test_without_scripts_there_is_a_picture_and_a_sentence(make):
    text = re.sub(r"<script.*?</script>", "", make().html, flags=re.DOTALL)
    (picture,) = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]{40,}"', text)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert len(re.findall(r"<p>[^<]{40,}</p>", text)) == 1
    assert "<style" not in text  # where styles are dropped, their text may stay


def test_it_is_shown_as_html_whose_scripts_cannot_end_early(make):
    fragment = make()
    assert fragment.html.count("</script>") == 2
    assert fragment._repr_html_() == fragment.html
    assert len(repr(fragment)) < 100  # without the page


def test_languages(make):
    assert data_of(make())["language"] is None
    chinese = make(language="zh")
    assert data_of(chinese)["language"] == "zh"
    assert re.search("<p>[^<]*[\u4e00-\u9fff]", chinese.html)
    with pytest.raises(ValueError, match=r"language must be .*'en', 'zh'.* found 'fr'"):
        make(language="fr")


def test_committed_fragments_are_of_todays_script_style_and_texts(make):
    """Notebooks and site show the committed ones; a change needs `make refresh ONLY="01 02"`."""
    today = make()
    shown = committed(today.kind)
    assert shown.html.split("<script>")[1] == today.html.split("<script>")[1]
    for name in ("style", "texts"):
        assert data_of(shown)[name] == data_of(today)[name]


def test_weights_are_rounded_to_float16_and_no_further(network, digits, generator):
    for variable in network.variables:
        variable.assign(generator.uniform(0.1, 2, size=variable.shape))
    numbers = decoded(data_of(draw_a_digit(network, digits.test))["weights"], "<f2")
    assert len(numbers) == 90_210
    first, norm = network.layers[0], network.layers[0].batch_norm
    order = [first.weights, norm.gamma, norm.beta, norm.pop_mean, norm.pop_var]
    expected = np.concatenate([np.ravel(variable) for variable in order]).astype(np.float16)
    np.testing.assert_array_equal(numbers[:78_800], expected)
    np.testing.assert_array_equal(numbers[-10:], network.output_biases.numpy().astype(np.float16))


@pytest.mark.parametrize("value", [1e5, np.nan, -np.inf])
def test_numbers_that_no_float16_holds_are_refused(value):
    with pytest.raises(ValueError, match=r"size up to 65504, .*found (100000|nan|-inf)"):
        encode_half_floats(np.array([1.0, value]))


def test_six_images_of_each_class(network, digits):
    data = data_of(draw_a_digit(network, digits.test))
    assert data["classes"] == [label for label in range(10) for _ in range(6)]
    class_of = dict(zip(map(bytes, digits.test.pixels), digits.test.classes, strict=True))
    pixels = decoded(data["images"]).reshape(60, 784)
    assert [class_of[bytes(image)] for image in pixels] == data["classes"]
    assert [data["classes"][pick] for pick in data["picks"]] == list(range(10))
    other = data_of(draw_a_digit(network, digits.test, seed=1))
    assert other["images"] != data["images"]


def test_batch_logits_are_naive_bn_and_change_nothing(network, digits):
    naive = networks.NaiveBatchNormNetwork(networks.initial_weights(0))
    images = digits.test.images[:20]
    with unchanged(network.variables):
        found = batch_logits(network, images)
        draw_a_digit(network, digits.test)
    np.testing.assert_allclose(found, naive(images, is_training=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda w: networks.PlainNetwork(w), "must be a BatchNormNetwork, found PlainNetwork"),
        (lambda w: networks.BatchNormNetwork(w, activation=tf.nn.relu), "must have sigmoids"),
        (lambda w: networks.BatchNormNetwork([w[0], w[2]]), r"found \(784, 100, 10\)"),
    ],
    ids=["kind", "activation", "sizes"],
)
def test_other_networks_are_refused(wrong, message, digits):
    with pytest.raises(ValueError, match=message):
        draw_a_digit(wrong(networks.initial_weights(0)), digits.test)


def test_a_class_with_too_few_images_is_refused(network, digits):
    kept = digits.test.classes != 7
    few = Dataset(digits.test.pixels[kept], digits.test.classes[kept])
    with pytest.raises(ValueError, match="6 images of each class, found 0 of class 7"):
        draw_a_digit(network, few)


def images_of(part):
    """The images of the experiment, as its script unpacks them: `[n, 196]`, 0 to 15."""
    packed = np.frombuffer(zlib.decompress(decoded(part["images"])), np.uint8)
    return np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1, 196)


def test_the_experiments_images_are_the_means_of_four_pixels(digits):
    data = data_of(train_here(digits))
    train, test = images_of(data["train"]), images_of(data["test"])
    assert len(train) == len(data["train"]["classes"]) == len(digits.train)  # there are few: all
    fours = digits.test.pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    coarse = np.round(fours * 15 / 255)
    assert sorted(map(bytes, test)) == sorted(map(bytes, coarse.astype(np.uint8)))
    classes = np.array([int(data["test"]["classes"][pick]) for pick in data["picks"]])
    np.testing.assert_array_equal(classes, range(10))


def test_four_equal_pixels_act_like_one_of_twice_the_brightness(generator):
    """Why 196 inputs do: the 784-100-100-10 network sees such images in the same way."""
    coarse = generator.uniform(size=(60, 14, 14)).astype(np.float32)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2).reshape(60, 784)
    labels = generator.integers(10, size=60).astype(np.int32)
    weights = networks.initial_weights(0)
    fours = weights[0].reshape(14, 2, 14, 2, 100).sum(axis=(1, 3)).reshape(196, 100) / 2
    large = networks.BatchNormNetwork(weights)
    small = networks.BatchNormNetwork([fours, *weights[1:]])
    for _ in range(5):
        loss = gradient_descent_step(large, fine, labels, 0.01)
        same = gradient_descent_step(small, 2 * coarse.reshape(60, 196), labels, 0.01)
        np.testing.assert_allclose(same, loss, rtol=1e-4)


def test_too_few_images_to_train_with_are_refused(digits):
    few = Dataset(digits.train.pixels[:255], digits.train.classes[:255])
    with pytest.raises(ValueError, match="256 images or more, found 255"):
        train_here(Datasets(few, few, digits.test, "digits"))


def test_a_class_without_a_test_image_is_refused(digits):
    kept = digits.test.classes != 4
    test = Dataset(digits.test.pixels[kept], digits.test.classes[kept])
    with pytest.raises(ValueError, match="an image of each class, found none of 4"):
        train_here(Datasets(digits.train, digits.train, test, "digits"))
