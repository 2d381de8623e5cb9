"""One backend's part in the trial of `backend_choice`: a process that takes steps when told to.

It loads as little as a step needs. Pictures and weights are drawn, and no teacher is asked: how
long a step takes does not depend on them. Augmentation, which TensorFlow does for every backend, is
left out.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ConfigError
from fer_keras.common.quiet import only_steps
from fer_keras.config import Experiment, from_json

# A round is no shorter.
_ROUND_S = 0.7
# More than any round takes: the callback stops the training.
_MAX_STEPS = 1_000_000
# Batches of drawn pictures.
_BATCHES = 2


def train_in_turns(
    experiment: Experiment,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    ask: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """The first step, then rounds whenever there is to be one.

    Args:
        experiment: What to try.
        image_shape: Of a picture, pair or clip.
        class_names: The classes.
        ask: Waits for the next round; whether there is one.
        say: Gets `ready` and then the images/s of each round.

    Raises:
        ConfigError: The experiment learns from a network that is not trained.
    """
    with only_steps(compiled=experiment.training.jit_compile == "on"):
        import keras

        from fer_keras.data.samples import Samples, one_hot
        from fer_keras.training.as_weights import AS_WEIGHTS
        from fer_keras.training.device import prepare_backend
        from fer_keras.training.start import with_earlier_stages
        from fer_keras.training.task import build_task, stage_rates

    training = replace(experiment.training, layer_rates=stage_rates(experiment))
    prepare_backend(training)
    experiment = replace(
        experiment,
        augmentation="none",
        training=training,
        growth=replace(experiment.growth, previous=""),
    )
    if experiment.network.name != AS_WEIGHTS:
        network = replace(experiment.network, weights="", keep_start=0.0)
        experiment = replace(experiment, network=network)
    teachers = experiment.method.options.get("teachers", ())
    experiment = with_earlier_stages(_with_teachers(experiment, []), _not_trained)
    if teachers:
        silent = _silent_teacher(image_shape, class_names)
        experiment = _with_teachers(experiment, [silent] * len(teachers))

    rng = np.random.default_rng(0)
    count = _BATCHES * max(training.batch_size, len(class_names))
    labels = np.arange(count) % len(class_names)
    pictures = rng.integers(0, 256, (count, *image_shape), np.uint8)
    targets = one_hot(labels, len(class_names))
    samples = Samples("trial", "train", tuple(class_names), "hard", pictures, targets, {})
    with _weights_of_numpy():
        method = build_task(experiment, samples, samples, as_it_is=True).method

    def batches() -> Iterator[Any]:
        rows = np.arange(training.batch_size, dtype=np.int32)
        facts = rng.uniform(0.1, 0.9, (len(rows), len(method.target_facts))).astype(np.float32)
        fed = (pictures[rows], rows) if method.needs_rows else pictures[rows]
        batch: tuple[Any, ...] = (fed, np.hstack([targets[rows], facts]))
        if training.class_weights != "none":
            batch += (np.ones(len(rows), np.float32),)
        while True:
            yield batch

    class Rounds(keras.callbacks.Callback):
        """Waits between rounds; a round is at least one step."""

        start = 0.0
        steps = 0

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            float((logs or {})["loss"])  # Waits for the step.
            seconds = time.perf_counter() - self.start
            self.steps += 1
            if batch and seconds < _ROUND_S:
                return
            # The first step compiles and is no measurement.
            say(f"{self.steps * training.batch_size / seconds:.2f}" if batch else "ready")
            if not ask():
                self.model.stop_training = True
            self.start, self.steps = time.perf_counter(), 0

    method.fit(
        batches(), steps_per_epoch=_MAX_STEPS, verbose=0, shuffle=False, callbacks=[Rounds()]
    )


@contextmanager
def _weights_of_numpy() -> Iterator[None]:
    """Layers begin with weights that NumPy draws: JAX compiles Keras' draws for each shape anew."""
    import keras
    from keras import initializers

    rng = np.random.default_rng(0)
    kinds = (initializers.VarianceScaling, initializers.RandomNormal, initializers.TruncatedNormal)
    own = [kind.__call__ for kind in kinds]

    def draw(_: Any, shape: Sequence[int], dtype: Any = None) -> Any:
        values = rng.normal(0, 0.05, shape).astype(np.float32)
        return keras.ops.convert_to_tensor(values, dtype=dtype)

    try:
        for kind in kinds:
            kind.__call__ = draw
        yield
    finally:
        for kind, call in zip(kinds, own, strict=True):
            kind.__call__ = call


def _with_teachers(experiment: Experiment, teachers: list[Any]) -> Experiment:
    """The experiment with others in the place of teachers whose answers are stored."""
    method = experiment.method
    if "teachers" not in method.options:
        return experiment
    return replace(
        experiment, method=replace(method, options={**method.options, "teachers": teachers})
    )


def _silent_teacher(image_shape: Sequence[int], class_names: Sequence[str]) -> Any:
    from fer_keras.loading.classifier import LoadedModel

    height, width, channels = image_shape[-3:]
    shape = (height, width, channels)

    def refuse(pictures: np.ndarray) -> Any:
        raise ConfigError("A trial asks no teacher.")

    return LoadedModel(Path(), "keras", tuple(class_names), shape, "", 1.0, {}, refuse)


def _not_trained(earlier: Experiment) -> Path:
    raise ConfigError(
        f"{earlier.name} has no finished run in runs, and a trial trains no earlier stage. "
        f"Train it first: python -m fer_keras.train --exp {earlier.name}"
    )


def _main() -> None:
    # What libraries print must not stand among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    experiments, image_shape, class_names = json.loads(sys.stdin.readline())
    try:
        for each in experiments:
            experiment = from_json(each)
            ask = lambda: sys.stdin.readline() == "go\n"  # noqa: E731
            train_in_turns(experiment, image_shape, class_names, ask, say)
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}".splitlines()[0]) from None


if __name__ == "__main__":
    _main()
