"""What `fit` takes, in the meaning that it has there."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models.data import batches_of
from tests.keras_models.models import Subclassed

ONE = keras.Sequential([keras.Input([3]), layers.Dense(1)])
IMAGES = keras.Sequential([keras.Input([4, 4, 1]), layers.Flatten(), layers.Dense(1)])
A, B = np.zeros([130, 3], np.float32), np.ones([130, 3], np.float32)


def two(named=False):
    inputs = [keras.Input([3], name="a"), keras.Input([3], name="b")]
    outputs = layers.Dense(1)(layers.Concatenate()(inputs))
    return keras.Model({i.name: i for i in inputs} if named else inputs, outputs)


class Frame:
    """As pandas has it: no array, but one can be made of it."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def to_numpy(self):
        return self.values


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, number):
        return A[number : number + 4], B[:4]


def shapes(model, dataset, limit=None):
    return [
        keras.tree.map_structure(lambda part: tuple(part.shape), batch)
        for batch in batches_of(model, dataset, "tool", limit)[0]
    ]


THREE = [(60, 3), (60, 3), (10, 3)]
INPUTS = [(shape,) for shape in THREE]
LABELLED = [(shape, shape) for shape in THREE]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (A, INPUTS),
        (tf.constant(A), INPUTS),
        (A[:121], [((60, 3),), ((61, 3),)]),
        ([A], INPUTS),
        (Frame(A), INPUTS),
        ((A, B), LABELLED),
        ((Frame(A), Frame(B)), LABELLED),
        ((A, B, B), [(shape,) * 3 for shape in THREE]),
        ((A, B, None), LABELLED),
        ([A[:4], B[:5]], [((4, 3),), ((5, 3),)]),  # a list of batches
        ([(A[:4], B[:4])], [((4, 3), (4, 3))]),
        (iter([A[:4]]), [((4, 3),)]),
        (tf.data.Dataset.from_tensors((A, B)), [((130, 3), (130, 3))]),
        (Batches(), [((4, 3), (4, 3))] * 2),
    ],
)
def test_one_input(dataset, expected):
    assert shapes(ONE, dataset) == expected


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("form", [[A, B], (A, B), {"a": A, "b": B}])
def test_two_inputs(form, named):
    expected = [keras.tree.map_structure(lambda _, s=shape: s, form) for shape in THREE]
    assert shapes(two(named), form) == [(each,) for each in expected]
    assert shapes(two(named), (form, A)) == [
        (each, shape) for each, shape in zip(expected, THREE, strict=True)
    ]
    batch = keras.tree.map_structure(lambda part: part[:4], form)
    batch = batch if isinstance(form, dict) else (batch, A[:4])
    assert len(shapes(two(named), [batch])) == 1


def test_a_subclassed_model_knows_how_many_inputs_it_was_built_with():
    model = Subclassed(layers.Add())
    model([A[:2], B[:2]])
    assert shapes(model, [A, B]) == [([shape, shape],) for shape in THREE]
    model = Subclassed(layers.Dense(1))
    model(A[:2])
    assert shapes(model, [A[:4], B[:5]]) == [((4, 3),), ((5, 3),)]
    with pytest.raises(ValueError, match=r"found \(3,\)"):
        shapes(model, A[0])


def test_an_axis_of_one_may_be_missing():
    assert shapes(IMAGES, np.zeros([5, 4, 4])) == [((5, 4, 4),)]
    with pytest.raises(ValueError, match=r"expected inputs of shape \(None, 4, 4, 1\), found"):
        shapes(IMAGES, np.zeros([5, 4, 3]))


@pytest.mark.parametrize(
    ("model", "dataset", "error", "message"),
    [
        (ONE, None, TypeError, "expected data .*found NoneType"),
        (ONE, "text", TypeError, "found str"),
        (ONE, 3, TypeError, "found int"),
        (ONE, ONE, TypeError, "found Sequential"),
        (ONE, [], ValueError, "found an empty dataset"),
        (ONE, iter(()), ValueError, "found an empty dataset"),
        (ONE, A[:0], ValueError, "found an empty dataset"),
        (ONE, A[0], ValueError, r"expected inputs of shape \(None, 3\), found \(3,\)"),
        (ONE, A[:, :2], ValueError, r"found \(130, 2\)"),
        (ONE, (A, B[:9]), ValueError, r"length, found \[9, 130\]"),
        (ONE, (A, A, A, A), ValueError, r"expected inputs of shape \(None, 3\), found .* and"),
        (ONE, ["a"], ValueError, "batch 1: expected arrays, found str"),
        (ONE, tf.data.Dataset.from_tensor_slices(A), ValueError, "batch 1: .* in batches"),
        (ONE, tf.data.Dataset.from_tensors(A).repeat(), ValueError, "without an end"),
        (two(), A, ValueError, r"expected inputs of shape .* and \(None, 3\), found \(130, 3\)$"),
        (two(), [(A, B)], ValueError, "batch 1: expected inputs of shape .* and"),
        (two(), (A, B, A), ValueError, "expected inputs of shape .* and"),
    ],
)
def test_what_does_not_fit(model, dataset, error, message):
    with pytest.raises(error, match=message):
        shapes(model, dataset)


def test_so_many_batches():
    assert len(shapes(ONE, A, limit=2)) == 2
    assert len(shapes(ONE, tf.data.Dataset.from_tensors(A).repeat(), limit=2)) == 2
    unknown = (each for each in [A])
    forms = [(A, None), ((A, B), 2), (unknown, None), (Batches(), None), ([A, B], 5)]
    lengths = [batches_of(ONE, dataset, "tool", limit)[1] for dataset, limit in forms]
    assert lengths == [3, 2, None, 2, 2]
