"""A second classifier learns what another data set says of the same pictures."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.samples import Samples, pixel_sha256
from fer_keras.methods import auxiliary_labels, build_method
from fer_keras.methods.auxiliary_labels import labels_of_the_same_pictures

from .conftest import NAMES, as_samples

OTHERS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@pytest.fixture(autouse=True)
def fer2013_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auxiliary_labels, "find_source", lambda _: "somewhere")


def with_hashes(samples: Samples) -> Samples:
    hashes = np.array([pixel_sha256(picture) for picture in samples.images])
    return replace(samples, facts={**samples.facts, "sha256": hashes})


def others(x: Any, labels: list[int]) -> Samples:
    targets = np.eye(len(OTHERS), dtype=np.float32)[labels]
    columns = {name: np.array([name] * len(x)) for name in ("source", "sha256", "subject")}
    images = x.astype(np.uint8)
    return with_hashes(Samples("fer2013", "train", OTHERS, "hard", images, targets, columns))


def test_labels_are_joined_by_the_pixels(pictures: Any) -> None:
    x, y = pictures
    # Picture 3 twice, with two labels; picture 0 is not there; the order is another one.
    other = others(x[[3, 2, 1, 3]], [1, 6, 0, 5])
    labels = labels_of_the_same_pictures(with_hashes(as_samples(x[:4], y[:4])), other)
    expected = np.zeros((4, 7))
    expected[1, 0] = expected[2, 6] = 1
    expected[3, [1, 5]] = 0.5
    np.testing.assert_array_equal(labels, expected)


def test_the_second_loss_is_that_of_the_pictures_with_a_second_label(
    tiny_network: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = pictures
    train = with_hashes(as_samples(x, y))
    monkeypatch.setattr(
        auxiliary_labels, "load_samples", lambda *_, **__: others(x[:4], [0, 1, 1, 6])
    )
    method: Any = build_method("auxiliary_labels", tiny_network, NAMES, weight=2.0)
    feed = method.feed(train, replace(train, split="validation"), "standard", 0)
    assert feed.augmentation == "standard"
    facts = [np.stack([each.facts[name] for name in method.target_facts], axis=1)
             for each in (feed.train, feed.validation)]  # fmt: skip
    assert facts[0].sum() == 4
    assert not facts[1].any()

    targets = np.hstack([y, facts[0]]).astype(np.float32)
    keras.utils.set_random_seed(0)
    outputs = method(x, training=True)
    losses = keras.ops.convert_to_numpy(method.sample_losses(targets, outputs, True))
    log_p, log_q = (
        keras.ops.convert_to_numpy(keras.ops.log_softmax(each))
        for each in (outputs["logits"], method.second.dense(outputs["embedding"]))
    )
    expected = -(y * log_p).sum(axis=1)
    expected[:4] -= 2.0 * log_q[np.arange(4), [0, 1, 1, 6]]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)

    plain = method(x, training=False)
    losses = keras.ops.convert_to_numpy(method.sample_losses(targets, plain, False))
    log_p = keras.ops.convert_to_numpy(keras.ops.log_softmax(plain["logits"]))
    np.testing.assert_allclose(losses, -(y * log_p).sum(axis=1), rtol=1e-5)
    # What is saved is the network alone.
    assert not any("auxiliary" in variable.path for variable in method.network.variables)


@pytest.mark.backends
def test_both_classifiers_are_trained(
    tiny_network: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = pictures
    train = with_hashes(as_samples(x, y))
    monkeypatch.setattr(auxiliary_labels, "load_samples", lambda *_, **__: others(x[:4], [0] * 4))
    method: Any = build_method("auxiliary_labels", tiny_network, NAMES)
    feed = method.feed(train, train, "none", 0)
    facts = np.stack([feed.train.facts[name] for name in method.target_facts], axis=1)
    before = [np.array(each) for each in method.second.get_weights()]
    method.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile="auto")
    method.fit(x, np.hstack([y, facts]), batch_size=5, verbose=0)
    for old, new in zip(before, method.second.get_weights(), strict=True):
        assert np.abs(new - old).max() > 1e-4


def test_a_data_set_of_other_pictures_is_refused(
    tiny_network: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = pictures
    monkeypatch.setattr(
        auxiliary_labels, "load_samples", lambda *_, **__: others(255 - x[:2], [0, 1])
    )
    method: Any = build_method("auxiliary_labels", tiny_network, NAMES)
    train = with_hashes(as_samples(x, y))
    with pytest.raises(ConfigError, match=r"the same pictures as x.*'fer2013'.*none of the 10\."):
        method.feed(train, train, "none", 0)


def test_without_its_files_the_targets_are_learned_alone(
    tiny_network: Any,
    pictures: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = pictures
    monkeypatch.setattr(auxiliary_labels, "find_source", lambda _: None)
    method: Any = build_method("auxiliary_labels", tiny_network, NAMES)
    train = as_samples(x, y)
    feed = method.feed(train, train, "none", 0)
    assert not any(feed.train.facts[name].any() for name in method.target_facts)
    assert "fer2013 is not there" in capsys.readouterr().out
