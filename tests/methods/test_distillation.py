"""The loss of a student, computed by hand, and a teacher that stays as it is."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.models.layers import with_class_names

from .conftest import NAMES, build_tiny_network


def make_teacher(names=NAMES):
    keras.utils.set_random_seed(1)
    return with_class_names(build_tiny_network(len(names)), names)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.backends
def test_the_loss_is_that_of_the_formula(tiny_network, pictures):
    x, y = pictures
    teacher = make_teacher()
    method = build_method("distillation", tiny_network, NAMES, teacher=teacher, weight=0.25)
    ours = keras.ops.convert_to_numpy(method.network(x, training=False)["logits"])
    theirs = keras.ops.convert_to_numpy(teacher(x, training=False)["logits"])
    outputs = {"logits": ours, "teacher_logits": theirs}
    received = keras.ops.convert_to_numpy(method.sample_losses(y, outputs, training=True))
    labels = -(y * log_softmax(ours)).sum(axis=-1)
    soft = np.exp(log_softmax(theirs / 2))
    expected = 0.75 * labels + 0.25 * 4 * -(soft * log_softmax(ours / 2)).sum(axis=-1)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    evaluated = method.sample_losses(y, {"logits": ours}, training=False)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(evaluated), labels, rtol=1e-5)


def test_the_student_comes_nearer_to_a_teacher_that_does_not_move(tiny_network, pictures):
    x, y = pictures
    teacher = make_teacher()
    before = [keras.ops.convert_to_numpy(w.value).copy() for w in teacher.weights]
    method = build_method("distillation", tiny_network, NAMES, teacher=teacher, weight=1.0)
    method.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=False)

    def distance():
        ours = method.predict(x, verbose=0)["logits"]
        theirs = keras.ops.convert_to_numpy(teacher(x, training=False)["logits"])
        return float(np.abs(np.exp(log_softmax(ours)) - np.exp(log_softmax(theirs))).mean())

    first = distance()
    method.fit(x, y, batch_size=10, epochs=40, verbose=0)
    assert distance() < 0.5 * first
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight.value), old)
    assert "teacher_logits" not in method.predict(x, verbose=0)


def test_a_teacher_of_other_classes_is_refused(tiny_network):
    with pytest.raises(ConfigError, match="in this order"):
        build_method("distillation", tiny_network, NAMES, teacher=make_teacher(NAMES[::-1]))
