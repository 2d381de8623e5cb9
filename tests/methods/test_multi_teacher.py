"""Answers of teachers that are asked once: whose, of which picture, and what is learned of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.pipeline import training_dataset
from fer_keras.data.samples import Samples
from fer_keras.data.views import fixed_views
from fer_keras.loading.classifier import LoadedModel, from_network
from fer_keras.methods import auxiliary_labels, build_method
from fer_keras.methods.multi_teacher import MultiTeacher, Teacher, mean_answer
from fer_keras.models.layers import with_class_names

from .conftest import NAMES, as_samples, build_tiny_network


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))


def make_teacher(names: tuple[str, ...] = NAMES, seed: int = 1) -> Any:
    keras.utils.set_random_seed(seed)
    return with_class_names(build_tiny_network(len(names)), names)


def splits(pictures: Any) -> tuple[Samples, Samples]:
    x, y = pictures
    return as_samples(x, y), replace(as_samples(x[:4], y[:4]), split="validation", fingerprint="")


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def answer_of(network: Any, pictures: np.ndarray) -> np.ndarray:
    model = from_network(network)
    return (model.predict(pictures) + model.predict(pictures[:, :, ::-1])) / 2


def test_the_student_is_fed_the_pictures_that_its_teachers_saw(
    tiny_network: Any, pictures: Any
) -> None:
    train, validation = splits(pictures)
    first, second = make_teacher(), make_teacher(seed=2)
    method = build_method(
        "multi_teacher",
        tiny_network,
        NAMES,
        teachers=[first, second],
        teacher_weights=[3.0, 1.0],
        views=3,
    )
    feed = method.feed(train, validation, "standard", 7)
    assert (feed.views, feed.augmentation) == (3, "none")
    batches = training_dataset(
        feed.train, batch_size=10, seed=0, views=3, target_facts=method.target_facts
    )
    for number, (images, targets) in enumerate(batches.take(7).as_numpy_iterator()):
        answers = (3 * answer_of(first, images) + answer_of(second, images)) / 4
        np.testing.assert_allclose(targets[:, 4:], answers, atol=2e-3)
        view = np.asarray(fixed_views(train, "standard", seed=7, count=3)[number % 3])
        view = view[:, :, ::-1] if number // 3 == 1 else view
        assert {picture.tobytes() for picture in images} == {p.tobytes() for p in view}
    held_out = np.stack([feed.validation.facts[name] for name in method.target_facts], axis=1)
    answers = (3 * answer_of(first, validation.images) + answer_of(second, validation.images)) / 4
    np.testing.assert_allclose(held_out, answers, atol=2e-3)


def test_without_views_the_teachers_see_clean_pictures_and_the_student_harmed_ones(
    tiny_network: Any, pictures: Any
) -> None:
    train, validation = splits(pictures)
    teacher = make_teacher()
    method = build_method("multi_teacher", tiny_network, NAMES, teachers=[teacher], views=0)
    feed = method.feed(train, validation, "standard", 7)
    assert (feed.views, feed.augmentation) == (1, "standard")
    batches = training_dataset(
        feed.train,
        batch_size=10,
        seed=0,
        augmentation=feed.augmentation,
        target_facts=method.target_facts,
    )
    clean = answer_of(teacher, train.images)
    for images, targets in batches.take(2).as_numpy_iterator():
        assert np.abs(np.sort(images, axis=0) - np.sort(train.images, axis=0)).max() > 5
        # The rows are shuffled: every answer is that of one clean picture.
        nearest = np.abs(targets[:, None, 4:] - clean[None]).max(axis=2).min(axis=1)
        assert nearest.max() < 2e-3


def test_teachers_are_asked_once(
    tiny_network: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = splits(pictures)
    asked: list[int] = []
    ask, teacher = Teacher.ask, make_teacher()
    monkeypatch.setattr(Teacher, "ask", lambda self, x, t: asked.append(len(x)) or ask(self, x, t))

    def feed(views: int = 2, seed: int = 0, **options: Any) -> Any:
        teachers = options.pop("teachers", [teacher])
        method = build_method(
            "multi_teacher", tiny_network, NAMES, teachers=teachers, views=views, **options
        )
        asked.clear()
        fed = method.feed(train, validation, "light", seed).train
        return np.stack([fed.facts[name] for name in method.target_facts], axis=1)

    first = feed()
    assert asked == [4, 10, 10]
    np.testing.assert_array_equal(feed(weight=0.2), first)
    assert asked == []
    np.testing.assert_array_equal(feed(views=3)[:20], first)
    assert asked == [10]
    feed(seed=1)
    assert asked == [10, 10]
    feed(teachers=[make_teacher(seed=5)])
    assert asked == [4, 10, 10]


def test_a_teacher_of_another_size_and_with_its_own_mirror(pictures: Any) -> None:
    x, _ = pictures
    shown: list[tuple[int, ...]] = []

    def run(images: np.ndarray) -> np.ndarray:
        shown.append(images.shape)
        left = images[:, :, : images.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        return np.stack([left, 1 - left], axis=1).astype(np.float32)

    def model(**manifest: Any) -> LoadedModel:
        return LoadedModel(
            Path("x"), "tflite", ("anger", "fear"), (16, 12, 3), "ab", 1.0, manifest, run
        )

    one = Teacher(model(), 1.0).ask(x.astype(np.uint8), "")
    assert set(shown) == {(10, 16, 12, 3), (64, 16, 12, 3)} or set(shown) == {(10, 16, 12, 3)}
    calls = len(shown)
    other = Teacher(model(mirror_average=True), 1.0)
    alone = other.ask(x.astype(np.uint8), "")
    assert len(shown) - calls == calls // 2
    assert other.digest != Teacher(model(), 1.0).digest
    mirrored = other.ask(x[:, :, ::-1].astype(np.uint8), "")
    np.testing.assert_allclose(np.exp(one), (np.exp(alone) + np.exp(mirrored)) / 2, atol=2e-3)


def test_classes_are_joined_by_name() -> None:
    names = ("anger", "fear", "contempt")
    targets = np.array([[0.5, 0.3, 0.2]])
    whole = (("contempt", "anger", "fear"), 1.0, np.array([[0.4, 0.5, 0.1]]))
    # Knows no contempt, but another class, which the student does not have.
    part = (("fear", "disgust", "anger"), 3.0, np.array([[0.6, 0.2, 0.2]]))
    np.testing.assert_allclose(mean_answer([whole], names, targets), [[0.5, 0.1, 0.4]], atol=1e-6)
    expected = (np.array([0.5, 0.1, 0.4]) + 3 * np.array([0.25 * 0.6, 0.75 * 0.6, 0.4])) / 4
    np.testing.assert_allclose(mean_answer([whole, part], names, targets), [expected], atol=1e-6)
    # Nobody knows contempt: the targets say it.
    np.testing.assert_allclose(
        mean_answer([part], names, targets), [[0.25 * 0.8, 0.75 * 0.8, 0.2]], atol=1e-6
    )
    with pytest.raises(ConfigError, match="knows some of anger, fear, contempt"):
        mean_answer([(("calm",), 1.0, np.array([[1.0]]))], names, targets)


def test_the_loss_is_that_of_the_formula(tiny_network: Any, pictures: Any) -> None:
    x, y = pictures
    method = build_method(
        "multi_teacher",
        tiny_network,
        NAMES,
        teachers=[make_teacher()],
        temperature=2.0,
        weight=0.25,
    )
    ours = keras.ops.convert_to_numpy(method.network(x, training=False)["logits"])
    theirs = answer_of(make_teacher(), x.astype(np.uint8))
    both = np.hstack([y, theirs]).astype(np.float32)
    received = keras.ops.convert_to_numpy(method.sample_losses(both, {"logits": ours}, True))
    labels = -(y * log_softmax(ours)).sum(axis=-1)
    soft = np.exp(log_softmax(np.log(theirs) / 2))
    expected = 0.75 * labels + 0.25 * 4 * -(soft * log_softmax(ours / 2)).sum(axis=-1)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    evaluated = method.sample_losses(both, {"logits": ours}, False)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(evaluated), labels, rtol=1e-5)


@pytest.mark.parametrize("views", [0, 2])
def test_another_label_of_the_same_pictures_is_learned_beside_the_teachers(
    tiny_network: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    x, y = pictures
    train, validation = splits(pictures)
    labels = np.eye(7, dtype=np.float32)[np.arange(len(x)) % 7]
    monkeypatch.setattr(auxiliary_labels, "find_source", lambda _: "somewhere")
    monkeypatch.setattr(auxiliary_labels, "load_samples", lambda *_, **__: None)
    monkeypatch.setattr(auxiliary_labels, "labels_of_the_same_pictures", lambda *_: labels)
    method: Any = build_method(
        "multi_teacher",
        tiny_network,
        NAMES,
        teachers=[make_teacher()],
        views=views,
        second_dataset="fer2013",
        second_weight=2.0,
    )
    feed = method.feed(train, validation, "standard", 0)
    facts = [
        np.stack([each.facts[name] for name in method.target_facts], axis=1)
        for each in (feed.train, feed.validation)
    ]
    classes = len(NAMES)
    rounds = max(views, 1)
    np.testing.assert_array_equal(facts[0][:, classes:], np.tile(labels, (rounds, 1)))
    np.testing.assert_allclose(facts[0][:, :classes].sum(axis=1), 1, atol=1e-3)
    assert not facts[1][:, classes:].any()

    outputs = method.network(x, training=False)
    targets = np.hstack([y, facts[0][: len(x)]]).astype(np.float32)
    received = keras.ops.convert_to_numpy(method.sample_losses(targets, outputs, True))
    plain = build_method(
        "multi_teacher", tiny_network, NAMES, teachers=[make_teacher()], views=views
    )
    taught = plain.sample_losses(targets[:, : 2 * classes], outputs, True)
    others = keras.ops.convert_to_numpy(method.second.dense(outputs["embedding"]))
    expected = keras.ops.convert_to_numpy(taught) - 2.0 * (labels * log_softmax(others)).sum(-1)
    np.testing.assert_allclose(received, expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_refused(tiny_network: Any, weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="for each one a weight"):
        build_method(
            "multi_teacher",
            tiny_network,
            NAMES,
            teachers=[make_teacher(), make_teacher()],
            teacher_weights=weights,
        )
    with pytest.raises(ConfigError, match="expected teachers"):
        build_method("multi_teacher", tiny_network, NAMES, teachers=[])


def test_no_teacher_is_part_of_a_checkpoint(tiny_network: Any) -> None:
    method = build_method("multi_teacher", tiny_network, NAMES, teachers=[make_teacher()])
    assert isinstance(method, MultiTeacher)
    assert {id(v) for v in method.variables} == {id(v) for v in method.network.variables}
