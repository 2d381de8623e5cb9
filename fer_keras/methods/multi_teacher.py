"""Distillation from one or several teachers that were asked once, before the training.

Source: Shen and Xing, "A Fast Knowledge Distillation Framework for Visual Recognition" (ECCV 2022):
the teachers' answers to a fixed number of augmented views of every picture are kept, so a step
costs no teacher's forward pass, and the student sees the very picture that its teachers saw. The
views are mirrored from one round to the next as in Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
Single GPU" (2024), section 3.6; a teacher answers a picture and its mirror image alike, by the mean
of both. With no fixed views the teachers see the pictures themselves and the student sees them
augmented anew in every step, as in Xie et al., "Self-training with Noisy Student improves ImageNet
classification" (CVPR 2020): what a harmed picture hides from a teacher it does not hide here.
Another data set may label the same pictures beside them (`fer_keras.methods.auxiliary_labels`).
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from fer_keras.common.constraints import CountOrZero, NotNegative, Positive, Share
from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError
from fer_keras.data.gathered import GatheredImages
from fer_keras.data.prepared import cache_folder
from fer_keras.data.samples import Samples
from fer_keras.data.views import BLOCK, Feed, fixed_views, stored_once, views_digest
from fer_keras.loading.classifier import LoadedModel, from_network
from fer_keras.methods.auxiliary_labels import SecondClassifier
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy

_FACT = "teacher_"
# An int8 file counts probabilities in steps of 1/256; 0 has no logarithm.
_LOWEST = 1 / 1024


class MultiTeacher(Method):
    """Trains `logits` by the targets and by the stored mean answer of several teachers."""

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        teachers: "Sequence[Teacher]",
        views: int,
        temperature: float,
        weight: float,
        second_dataset: str,
        second_rule: str,
        second_weight: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self._answered = tuple(f"{_FACT}{name}" for name in self.class_names)
        self.target_facts = self._answered
        self.second: SecondClassifier | None = None
        if second_dataset:
            check_outputs(network, ("logits", "embedding"), "multi_teacher with auxiliary labels")
            self.second = SecondClassifier(self.network, second_dataset, second_rule, second_weight)
            self.target_facts += self.second.facts
        self.views = views
        self.temperature = temperature
        self.weight = weight
        # In a function, which Keras does not track: teachers are no part of a checkpoint.
        self._teachers: Callable[[], Sequence[Teacher]] = lambda: teachers

    def feed(self, train: Samples, validation: Samples, augmentation: str, seed: int) -> Feed:
        """Both splits with what the teachers say of them; see `Method.feed`.

        The teachers are asked here, unless their answers lie in the cache.
        """
        if self.second is not None:
            train, validation = self.second.label(train, validation)
        held_out = self._answers(
            validation, validation.images, views_digest(validation, "none", 0), "validation"
        )
        fed_validation = replace(validation, facts={**validation.facts, **self._facts(held_out)})
        if not self.views:
            said = self._answers(train, train.images, views_digest(train, "none", 0), "training")
            facts = {**train.facts, **self._facts(said)}
            return Feed(replace(train, facts=facts), fed_validation, augmentation)
        pictures = fixed_views(train, augmentation, seed=seed, count=self.views)
        name = views_digest(train, augmentation, seed)
        asked = [
            self._answers(train, view, f"{name}-{number}", f"view {number + 1}/{self.views}")
            for number, view in enumerate(pictures)
        ]
        images = pictures[0]
        if len(pictures) > 1:
            rows = np.arange(len(pictures) * len(train))
            images = GatheredImages(pictures, rows).as_array()
        kept = () if self.second is None else self.second.facts
        fed = replace(
            train,
            images=images,
            targets=np.tile(train.targets, (len(pictures), 1)),
            facts={
                **{name: np.tile(train.facts[name], len(pictures)) for name in kept},
                **self._facts(np.concatenate(asked)),
            },
            fingerprint=f"{train.fingerprint}:views",
        )
        return Feed(fed, fed_validation, "none", len(pictures))

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """All losses of each sample, `(batch,)`; evaluating, the one against the targets alone."""
        classes = len(self.class_names)
        label_losses = soft_cross_entropy(y[:, :classes], outputs["logits"])
        if not training:
            return label_losses
        t = self.temperature
        said, labels = y[:, classes : 2 * classes], y[:, 2 * classes :]
        soft = ops.softmax(ops.log(ops.maximum(said, _LOWEST)) / t, axis=-1)
        student = ops.cast(outputs["logits"], "float32") / t
        # The gradient of a softened softmax shrinks by 1 / t^2.
        teacher_losses = t * t * soft_cross_entropy(soft, student)
        losses = (1 - self.weight) * label_losses + self.weight * teacher_losses
        if self.second is not None:
            losses = losses + self.second.losses_of(labels, outputs["embedding"])
        return losses

    def _facts(self, answers: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self._answered, answers.T, strict=True))

    def _answers(self, samples: Samples, pictures: np.ndarray, key: str, title: str) -> np.ndarray:
        """The teachers' mean of some pictures `(n, h, w, c)`, `(n, classes)` float32."""
        folder = cache_folder(None) / "teachers"
        answers = []
        for teacher in self._teachers():
            path = folder / f"{teacher.digest}-{key}.npy"
            logits = stored_once(path, partial(teacher.ask, pictures, title))
            said = np.exp(np.asarray(logits, np.float32))
            answers.append((teacher.model.class_names, teacher.weight, said))
        return mean_answer(answers, self.class_names, samples.targets)


@dataclass(frozen=True)
class Teacher:
    """A trained network that is asked for probabilities.

    Attributes:
        model: The network.
        weight: Of its answers in the mean.
    """

    model: LoadedModel
    weight: float

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that change with what it answers."""
        how = [self.model.sha256, self.model.temperature, self._has_mirror]
        return hashlib.sha256(json.dumps(how).encode()).hexdigest()[:32]

    @property
    def _has_mirror(self) -> bool:
        return bool(self.model.manifest.get("mirror_average", False))

    def ask(self, pictures: np.ndarray, title: str) -> np.ndarray:
        """Its answers, of each picture the mean of the picture and its mirror image.

        Args:
            pictures: `(n, height, width, channels)` uint8 of any size.
            title: Shown before the progress bar.

        Returns:
            Logarithms of the probabilities, which are logits, `(n, its classes)` float16.
        """
        answers = np.empty((len(pictures), len(self.model.class_names)), np.float16)
        bar = tqdm(
            total=len(pictures),
            desc=f"{self.model.path} {title}",
            unit=" pictures",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        with bar:
            for start in range(0, len(pictures), BLOCK):
                block = self._fitting(np.asarray(pictures[start : start + BLOCK]))
                said = self.model.predict(block).astype(np.float64)
                if not self._has_mirror:
                    mirrored = np.ascontiguousarray(block[:, :, ::-1])
                    said = (said + self.model.predict(mirrored)) / 2
                answers[start : start + len(block)] = np.log(np.maximum(said, _LOWEST))
                bar.update(len(block))
        return answers

    def _fitting(self, pictures: np.ndarray) -> np.ndarray:
        """The pictures in the size and with the channels of its input."""
        height, width, channels = self.model.image_shape
        if pictures.shape[3] != channels:
            # Grey as the project decodes it: ITU-R BT.601.
            pictures = (
                np.repeat(pictures, 3, axis=3)
                if channels == 3
                else np.rint(pictures @ np.array([[0.299], [0.587], [0.114]])).astype(np.uint8)
            )
        if pictures.shape[1:3] != (height, width):
            pictures = np.stack([resize(picture, (height, width)) for picture in pictures])
        return pictures


def mean_answer(
    answers: Sequence[tuple[Sequence[str], float, np.ndarray]],
    class_names: Sequence[str],
    targets: np.ndarray,
) -> np.ndarray:
    """The weighted mean of the probabilities of teachers that may know different classes.

    What a teacher says of a class that the student lacks is left out. Of a class that a teacher
    lacks it says what the others say of it, in the mean of those that know it, or where none does
    what the targets say; its own classes share what this leaves.

    Args:
        answers: Of each teacher its classes, its weight and its probabilities `(n, its classes)`.
        class_names: Those of the student.
        targets: `(n, classes)`, rows of sum 1.

    Returns:
        `(n, classes)` float32, rows of sum 1.

    Raises:
        ConfigError: A teacher knows none of the classes.
    """
    said = np.zeros((len(answers), len(targets), len(class_names)))
    known = np.zeros((len(answers), len(class_names)))
    for number, (theirs, _, probabilities) in enumerate(answers):
        common = [name for name in class_names if name in theirs]
        if not common:
            raise ConfigError(
                f"multi_teacher: expected a teacher that knows some of {', '.join(class_names)}. "
                f"Received one of {', '.join(theirs)}."
            )
        ours = [class_names.index(name) for name in common]
        said[number][:, ours] = probabilities[:, [theirs.index(name) for name in common]]
        said[number] /= np.maximum(said[number].sum(axis=1, keepdims=True), 1e-9)
        known[number, ours] = 1.0
    weights = np.array([weight for _, weight, _ in answers])
    knowing = weights @ known
    by_others = np.einsum("k,kc,knc->nc", weights, known, said) / np.maximum(knowing, 1e-9)
    by_others = np.where(knowing > 0, by_others, targets)
    whole = np.zeros(targets.shape)
    for number, weight in enumerate(weights):
        lacking = by_others * (1 - known[number])
        left = np.clip(1 - lacking.sum(axis=1, keepdims=True), 0.0, 1.0)
        whole += weight * (said[number] * left + lacking)
    mean: np.ndarray = (whole / whole.sum(axis=1, keepdims=True)).astype(np.float32)
    return mean


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    teachers: Sequence[Any],
    teacher_weights: Sequence[Positive] = (),
    views: CountOrZero = 8,
    temperature: Positive = 1.0,
    weight: Share = 0.7,
    second_dataset: str = "",
    second_rule: str = "",
    second_weight: NotNegative = 0.5,
) -> MultiTeacher:
    """Training by teachers whose answers are stored.

    The answers lie in the cache (`$FER_KERAS_CACHE`), a file for each teacher and view, and so do
    the views, one byte for each pixel: 8 views of 28,000 faces of 48 pixels are 0.5 GB.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes.
        teachers: Networks, or models of `fer_keras.loading.load`. In an experiment, and with
            `--set`, a list of what `fer_keras.training.start` takes: a `.keras` or `.tflite` file,
            a run folder, an export folder, an experiment, or a shipped model by name (`ferplus`, or
            one file of it: `ferplus/model_int8.tflite`). They may take pictures of other sizes and
            know other classes, see `mean_answer`.
        teacher_weights: Of their probabilities in the mean, above 0; none for equal ones.
        views: Augmented views of every training picture; an epoch shows one of them. 0 for pictures
            that are augmented anew in every step, of which the teachers saw the clean ones.
        temperature: Softens both distributions, above 0. The probabilities of a `.tflite` file are
            calibrated, and those of an int8 file coarse: 1 is for them.
        weight: Share of the teachers' loss, 0 to 1; the rest is that of the targets.
        second_dataset: Name of another data set with the same pictures, whose labels a second
            classifier learns beside them (`fer_keras.methods.auxiliary_labels`); none if empty.
        second_rule: How its votes become labels; its default if empty.
        second_weight: Of the second classifier's loss, 0 or more.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: No teacher, weights that do not fit, or auxiliary labels for a network without
            the output `embedding`.
        ModelFileError: A network without named classes.
    """
    weights = list(teacher_weights) or [1.0] * len(teachers)
    if not teachers or len(weights) != len(teachers):
        raise ConfigError(
            "multi_teacher: expected teachers and for each one a weight. Received: "
            f"{len(teachers)} teachers, teacher_weights={list(teacher_weights)}."
        )
    loaded = [
        Teacher(_as_model(teacher), float(share))
        for teacher, share in zip(teachers, weights, strict=True)
    ]
    return MultiTeacher(
        network,
        class_names,
        teachers=loaded,
        views=views,
        temperature=temperature,
        weight=weight,
        second_dataset=second_dataset,
        second_rule=second_rule,
        second_weight=second_weight,
    )


def _as_model(teacher: Any) -> LoadedModel:
    """A model whose answers can be stored under its digest."""
    if isinstance(teacher, LoadedModel):
        return teacher
    digest = hashlib.sha256(json.dumps(teacher.get_config(), default=str).encode())
    for variable in teacher.variables:
        digest.update(np.ascontiguousarray(ops.convert_to_numpy(variable)).tobytes())
    return from_network(teacher, sha256=digest.hexdigest())
