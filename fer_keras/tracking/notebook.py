"""`fer_keras.track()`: tracks a `fit` of one's own as the training command tracks its runs."""

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fer_keras.common.errors import FerKerasError
from fer_keras.common.installed import require_keras
from fer_keras.loading.keras_files import save_network
from fer_keras.models.graphs import named_network
from fer_keras.tracking.tracker import Tracker, git_commit


@contextmanager
def track(
    experiment: str = "notebook", name: str = "", params: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """Tracks every `fit` of a Keras model in the block in one MLflow run.

    The run has the columns of a training of the command: settings of network and optimizer, the
    figures of each epoch, `best_accuracy` (the highest `val_accuracy`) and, of a network of this
    package that carries class names, an MLflow model with the last weights. A store that does not
    answer costs one warning and no training.

    Args:
        experiment: MLflow's experiment; by custom the data set.
        name: Of the run; the name of the first model that is fitted where it is empty.
        params: More parameters of the run.

    Yields:
        The tracker, for figures and files of one's own: `log(figures, step)`, `artifact(path)`.

    Raises:
        ConfigError: Keras or MLflow is not installed.
    """
    require_keras("track", "mlflow")
    import keras

    watcher = _Watcher(experiment, name, dict(params or {}))
    original = keras.Model.fit
    signature = inspect.signature(original)

    def fit(model: Any, *arguments: Any, **keywords: Any) -> Any:
        given = signature.bind(model, *arguments, **keywords)
        callbacks = given.arguments.get("callbacks") or []
        watched = watcher.callback(model, given.arguments)
        given.arguments["callbacks"] = [
            *(callbacks if isinstance(callbacks, list | tuple) else [callbacks]),
            watched,
        ]
        return original(*given.args, **given.kwargs)

    keras.Model.fit = fit
    status = "FAILED"
    try:
        yield watcher.tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        keras.Model.fit = original
        if status == "FINISHED":
            watcher.store_model()
        watcher.tracker.finish(status)


class _Watcher:
    """The run, which begins with the first `fit`, and its epochs, which are counted over all."""

    def __init__(self, experiment: str, name: str, params: dict[str, Any]) -> None:
        self.experiment = experiment
        self.name = name
        self.params = params
        self.tracker = Tracker()
        self.epochs = 0
        self.best: tuple[float, int] | None = None
        self.model: Any = None
        self.started = False

    def callback(self, model: Any, arguments: Mapping[str, Any]) -> Any:
        """A Keras callback that logs the epochs of a `fit`."""
        import keras

        self.model = model
        if not self.started:
            self._start(model, arguments)
        began = time.monotonic()

        def epoch_ends(_: int, logs: Mapping[str, Any] | None = None) -> None:
            nonlocal began
            now = time.monotonic()
            figures = {key: float(value) for key, value in (logs or {}).items()}
            figures["learning_rate"] = float(
                keras.ops.convert_to_numpy(model.optimizer.learning_rate)
            )
            figures["seconds"] = now - began
            began = now
            self.epochs += 1
            self.tracker.log(figures, self.epochs)
            accuracy = figures.get("val_accuracy")
            if accuracy is not None and (self.best is None or accuracy > self.best[0]):
                self.best = (accuracy, self.epochs)

        return keras.callbacks.LambdaCallback(on_epoch_end=epoch_ends)

    def store_model(self) -> None:
        """Logs the best figure, and the network where it is one of this package."""
        scores = {"best_accuracy": self.best[0]} if self.best else {}
        if self.best:
            self.tracker.log(scores, self.best[1])
        if self.model is None:
            return
        with TemporaryDirectory(prefix="fer_keras-") as place:
            try:
                network = named_network(getattr(self.model, "network", self.model))
                save_network(network, Path(place) / "best.keras")
            except FerKerasError:
                return  # Of another project: the figures are what there is.
            self.tracker.log_model(Path(place), scores, None, self.epochs)

    def _start(self, model: Any, arguments: Mapping[str, Any]) -> None:
        import keras

        self.started = True
        optimizer = model.optimizer
        params = {
            "network.name": model.name,
            "network.parameters": model.count_params(),
            "method.name": _described(model.loss),
            "training.optimizer": type(optimizer).__name__.lower(),
            "training.learning_rate": _described(optimizer.get_config().get("learning_rate")),
            "training.epochs": arguments.get("epochs", 1),
            "training.batch_size": arguments.get("batch_size", ""),
            **self.params,
        }
        tags = {
            "experiment": self.name or model.name,
            "network": model.name,
            "git_commit": git_commit(),
            "backend": keras.backend.backend(),
            "mlflow.source.type": "NOTEBOOK",
            "mlflow.source.name": "fer_keras.track",
        }
        self.tracker.start(self.experiment, self.name or model.name, params, tags)


def _described(value: Any) -> str:
    """A loss or a learning rate in a word."""
    if isinstance(value, float):
        return f"{value:.6g}"  # 0.001 in float32 is 0.0010000000474974513.
    if value is None or isinstance(value, str | int):
        return str(value or "")
    if isinstance(value, Mapping):
        return str(value.get("class_name", value))
    return str(getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__))
