"""What scikit-learn asks of an estimator: parameters, clones, pipelines, a score."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError, DataError, did_you_mean
from fer_keras.common.labels import class_name
from fer_keras.runtime.pictures import Picture, Pixels


class PretrainedClassifier:
    """A classifier for scikit-learn that is trained already; the base of `Recognizer`.

    A subclass sets `_parameters`, its arguments by name as they were given, and `classes_`.
    """

    classes_: NDArray[np.str_]
    _parameters: dict[str, Any]

    def predict(self, images: Pixels | Iterable[Picture]) -> NDArray[np.str_]:
        """The most probable label of each picture; a subclass defines it.

        Args:
            images: What is classified.
        """
        raise NotImplementedError

    def fit(self, images: Any = None, labels: Any = None) -> Self:
        """Does nothing: the model is trained. It is here for pipelines and cross-validation.

        Args:
            images: Not read.
            labels: Not read.

        Returns:
            The object itself.
        """
        return self

    def score(self, images: Pixels | Iterable[Picture], labels: Sequence[str]) -> float:
        """The share of pictures whose most probable label is the given one.

        Args:
            images: As for `predict`.
            labels: One for each picture, in any known spelling.

        Returns:
            Accuracy, 0..1.

        Raises:
            DataError: Not one label for each picture, no picture, or a label that the model does
                not have.
        """
        wanted = [class_name(str(label)) for label in labels]
        known = [class_name(str(label)) for label in self.classes_]
        for label in wanted:
            if label not in known:
                raise DataError(
                    f"score: the model does not have the label {label!r}. Expected one of "
                    f"{', '.join(known)}"
                )
        found = [class_name(str(label)) for label in self.predict(images)]
        if len(found) != len(wanted) or not found:
            raise DataError(
                "score: expected pictures and one label for each. Received: "
                f"{len(found)} pictures and {len(wanted)} labels"
            )
        return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments that the object was made with.

        Args:
            deep: Makes no difference; part of scikit-learn's signature.

        Returns:
            Name -> value, as it was given.
        """
        return dict(self._parameters)

    def set_params(self, **parameters: Any) -> Self:
        """Makes the object anew with some arguments changed.

        Args:
            **parameters: Those that change.

        Returns:
            The object itself.

        Raises:
            ConfigError: An unknown argument, or whatever the class raises for a value.
        """
        for name in parameters:
            if name not in self._parameters:
                raise ConfigError(
                    f"set_params: unknown argument {name!r}. {did_you_mean(name, self._parameters)}"
                )
        if parameters:
            self.__init__(**{**self._parameters, **parameters})  # type: ignore[misc]
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Always: the model is trained."""
        return True

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn has to know: a classifier of pictures that needs no labels to fit."""
        # Only scikit-learn asks, so it is there; the runtime itself does without.
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=False),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=False, three_d_array=True, string=True),
        )
