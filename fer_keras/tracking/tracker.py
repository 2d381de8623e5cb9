"""MLflow, and the only importer of it.

A run is useful without its tracking server: everything is also in the run folder, and a server that
is dead or dies on the way costs one warning, never the training.
"""

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.tracking.page_view import view_tags
from fer_keras.tracking.store import missing_database, prepare_store

# The validation figures of the kept epoch that are metrics of the run; result.json has all.
TRACKED_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece")

# In a folder, the id of its MLflow run.
RUN_ID_FILE = "mlflow_run_id.txt"

_ALIAS = "champion"
# Tags of a run that its model has too.
_MODEL_TAGS = (
    "network", "method", "dataset", "label_rule", "label_order", "git_commit", "seed",
    "mlflow.note.content",
)  # fmt: skip
_SYSTEM_METRICS_EVERY_S = 30


def store_uri() -> str:
    """Where runs are tracked: `MLFLOW_TRACKING_URI`, or `mlflow.db` in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def is_remote() -> bool:
    """Whether runs are tracked by a server, which may be another machine."""
    return store_uri().startswith(("http://", "https://"))


def read_run_id(folder: Path) -> str:
    """The MLflow run of a folder, empty where none is known.

    Args:
        folder: Of a training, a sweep or a study.
    """
    path = folder / RUN_ID_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


@dataclass(frozen=True)
class TrackedData:
    """A split of a data set as MLflow names it.

    Attributes:
        name: Of the data set.
        split: `train` or `validation`.
        digest: Of its pictures and labels, at most 36 characters.
        label_rule: How its labels are made.
        count: Pictures.
        classes: Pictures of each class.
    """

    name: str
    split: str
    digest: str
    label_rule: str
    count: int
    classes: Mapping[str, int]


class Tracker:
    """One MLflow run, or nothing where tracking is off or its server does not answer.

    Args:
        enabled: False tracks nothing.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._client: Any = None
        self._monitor: Any = None
        self._run_id = ""
        self._postponed: Callable[[], None] | None = None
        self._failure: Exception | None = None
        self._opening = threading.RLock()

    def postpone(self, opening: Callable[[], None]) -> None:
        """Lets the run be opened by `open`, at the latest when something is to be logged.

        Args:
            opening: Calls `start`.
        """
        self._postponed = opening

    def open(self) -> None:
        """Opens a run that was postponed, once; other threads wait for it.

        Raises:
            Exception: What the opening raised, in every thread that needs the run.
        """
        with self._opening:
            opening, self._postponed = self._postponed, None
            if opening is not None:
                try:
                    opening()
                except Exception as error:
                    self._failure = error
            if self._failure is not None:
                raise self._failure

    def prepare_model(self) -> None:
        """Does ahead what MLflow does before it writes the first model of a process."""
        if self.active:
            from mlflow.utils.requirements_utils import _init_packages_to_modules_map

            _init_packages_to_modules_map()  # Goes through all installed packages.

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty where nothing is tracked."""
        self.open()
        return self._run_id

    def start(
        self,
        experiment_name: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str = "",
        parent_run_id: str = "",
        watch_system: bool = True,
    ) -> str:
        """Opens a run, or opens the given one again.

        Args:
            experiment_name: MLflow's experiment: the data set.
            run_name: Experiment and seed.
            params: Flat parameters of the run.
            tags: Commit, data set, backend and the like.
            run_id: The MLflow run of a resumed training.
            parent_run_id: The MLflow run that this one is nested in: a fold in its
                cross-validation, a trial in its sweep.
            watch_system: Whether processor and memory are logged while the run is open.

        Returns:
            MLflow's run id, empty where nothing is tracked.
        """
        if parent_run_id:
            tags = {**tags, "mlflow.parentRunId": parent_run_id}
        if self._enabled:
            self._guard(self._start, experiment_name, run_name, params, tags, run_id)
        if self._client is not None and watch_system:
            self._guard(self._watch_system, self._run_id)
        return self.run_id

    def attach(self, run_id: str) -> str:
        """Opens a run to add to it, and leaves its status as it is.

        Args:
            run_id: The MLflow run of a training.

        Returns:
            The run id, empty where nothing is tracked or the run is not there.
        """
        if self._enabled:
            database = missing_database(store_uri())
            if database:
                print(
                    f"note: not added to the MLflow run: no tracked runs at {database}. To add it, "
                    "name the store in MLFLOW_TRACKING_URI.",
                    file=sys.stderr,
                )
                return ""
            self._guard(self._attach, run_id)
        return self.run_id

    @property
    def active(self) -> bool:
        """Whether a run is open and everything so far has reached it."""
        self.open()
        return self._client is not None

    def log(self, figures: Mapping[str, float], step: int, time_s: float | None = None) -> None:
        """Logs metrics of one epoch.

        Args:
            figures: Name -> value.
            step: The epoch, from 1.
            time_s: When it ended, in seconds since 1970; None for now.
        """
        if self.active:
            self._guard(self._log, figures, step, time_s)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds tags to the run.

        Args:
            tags: Name -> value.
        """
        if self.active:
            self._guard(self._set_tags, tags)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Stores a file or folder with the run.

        Args:
            path: The file or folder.
            folder: Where among the artifacts.
        """
        if self.active and path.exists():
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            self._guard(log, self.run_id, str(path), folder or None)

    def log_data(self, data: Sequence[TrackedData]) -> None:
        """Names the data that the run reads.

        Args:
            data: The splits.
        """
        if self.active:
            self._guard(self._log_data, data)

    def log_model(
        self, run_dir: Path, figures: Mapping[str, float], data: TrackedData | None, step: int
    ) -> None:
        """Stores the kept network as an MLflow model with its figures.

        A network that cannot be written as one costs one warning and nothing else.

        Args:
            run_dir: The finished run.
            figures: Validation figures of the network.
            data: What they were measured on; None where nobody has said.
            step: Its epoch.
        """
        if self.active:
            self._guard(self._log_model, run_dir, figures, data, step)

    def finish(self, status: str) -> None:
        """Ends the run.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
        """
        is_open = self.active
        if self._monitor is not None:
            self._monitor.finish()
        if is_open:
            self._guard(self._client.set_terminated, self.run_id, status)

    def champion(self, model_name: str) -> dict[str, str] | None:
        """What is registered as the best model under a name.

        Args:
            model_name: A registered model.

        Returns:
            The tags of the version with the alias `champion`; None where there is none, or where
            nothing is tracked.
        """
        found: list[dict[str, str]] = []
        if self.active:
            self._guard(lambda: found.extend(self._champion(model_name)))
        return found[0] if found else None

    def register_champion(self, model_name: str, tags: Mapping[str, str]) -> None:
        """Registers the model of the run and moves the alias `champion` to it.

        Args:
            model_name: The registered model; made if missing.
            tags: What the next challenger is compared with.
        """
        if self.active:
            self._guard(self._register_champion, model_name, tags)

    def _champion(self, model_name: str) -> list[dict[str, str]]:
        for model in self._client.search_registered_models(f"name = '{model_name}'"):
            if _ALIAS in model.aliases:
                version = self._client.get_model_version_by_alias(model_name, _ALIAS)
                return [dict(version.tags)]
        return []

    def _log_data(self, data: Sequence[TrackedData]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=each.name,
                    digest=each.digest,
                    source_type="fer_keras",
                    source=json.dumps({"split": each.split, "label_rule": each.label_rule}),
                    profile=json.dumps({"pictures": each.count, "classes": each.classes}),
                ),
                [InputTag("mlflow.data.context", each.split)],
            )
            for each in data
        ]
        self._client.log_inputs(self.run_id, inputs)

    def _log_model(
        self, run_dir: Path, figures: Mapping[str, float], data: TrackedData | None, step: int
    ) -> None:
        import time
        from tempfile import TemporaryDirectory

        from mlflow.entities import LoggedModelOutput, Metric

        from fer_keras.tracking.mlflow_model import write_run_model

        run = self._client.get_run(self.run_id)
        tags = {key: run.data.tags[key] for key in _MODEL_TAGS if key in run.data.tags}
        name = re.sub(r"[^\w-]", "_", run.data.tags.get("experiment", "model"))
        model_id = str(
            self._client.create_logged_model(
                run.info.experiment_id,
                name=name,
                source_run_id=self.run_id,
                tags=tags,
                params={key: value for key, value in run.data.params.items() if value},
                model_type="classifier",
            ).model_id
        )
        try:
            with TemporaryDirectory(prefix="fer_keras-") as place:
                folder = Path(place) / "model"
                write_run_model(run_dir, folder, model_id=model_id, run_id=self.run_id)
                self._client.log_model_artifacts(model_id, str(folder))
        except Exception as error:
            self._client.finalize_logged_model(model_id, "FAILED")
            reason = str(error).split("\n")[0][:200]
            print(f"warning: the run has no MLflow model: {reason}", file=sys.stderr)
            return
        self._client.finalize_logged_model(model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model_id, step)])
        now = int(time.time() * 1000)
        about = {"model_id": model_id}
        if data is not None:
            about |= {"dataset_name": data.name, "dataset_digest": data.digest}
        metrics = [
            Metric(key, float(value), now, step, run_id=self.run_id, **about)
            for key, value in figures.items()
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def _register_champion(self, model_name: str, tags: Mapping[str, str]) -> None:
        client = self._client
        if not client.search_registered_models(f"name = '{model_name}'"):
            client.create_registered_model(model_name)
        # With all files: what is fetched by the alias is a run folder, which every command reads.
        run = client.get_run(self.run_id)
        models = run.outputs.model_outputs if run.outputs else []
        model_id = models[-1].model_id if models else None
        source = f"models:/{model_id}" if model_id else run.info.artifact_uri
        version = client.create_model_version(
            model_name,
            source,
            self.run_id,
            tags=dict(tags),
            description=run.data.tags.get("mlflow.note.content"),
            model_id=model_id,
        )
        client.set_registered_model_alias(model_name, _ALIAS, version.version)
        if model_id:
            # By this MLflow's page leads from the model to the registry.
            versions = [{"name": model_name, "version": int(version.version)}]
            tag = {"mlflow.modelVersions": json.dumps(versions)}
            client.set_logged_model_tags(model_id, tag)

    def _connect(self) -> Any:
        # MLflow's own defaults keep a run waiting for minutes when the server is gone.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ["MLFLOW_TRACKING_URI"] = store_uri()
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

        import mlflow

        for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.system_metrics"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        prepare_store(store_uri())
        return mlflow.MlflowClient()

    def _attach(self, run_id: str) -> None:
        client = self._connect()
        client.get_run(run_id)
        self._client, self._run_id = client, run_id

    def _start(
        self,
        experiment_name: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str,
    ) -> None:
        client = self._connect()
        from mlflow.entities import Param, RunTag

        if run_id:
            client.get_run(run_id)
            client.update_run(run_id, status="RUNNING")
        else:
            experiment = client.get_experiment_by_name(experiment_name)
            experiment_id = (
                experiment.experiment_id
                if experiment is not None
                else _create_experiment(client, experiment_name)
            )
            for key, value in view_tags().items():
                if experiment is None or experiment.tags.get(key) != value:
                    client.set_experiment_tag(experiment_id, key, value)
            run_id = client.create_run(experiment_id, run_name=run_name).info.run_id
        self._client, self._run_id = client, run_id
        client.log_batch(
            run_id,
            params=[Param(_param_name(key), str(value)[:500]) for key, value in params.items()],
            tags=[RunTag(key, value[:5000]) for key, value in tags.items()],
        )

    def _watch_system(self, run_id: str) -> None:
        """Logs processor, memory, disk and network beside the run, where psutil is installed."""
        if importlib.util.find_spec("psutil") is None:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(
            run_id, sampling_interval=_SYSTEM_METRICS_EVERY_S, resume_logging=True
        )
        self._monitor.start()

    def _log(self, figures: Mapping[str, float], step: int, time_s: float | None) -> None:
        from mlflow.entities import Metric

        at_ms = int(1000 * (time.time() if time_s is None else time_s))
        metrics = [Metric(name, float(value), at_ms, step) for name, value in figures.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, value)

    def _guard(self, action: Any, *arguments: Any) -> None:
        """Runs one call to MLflow; whatever it raises must not end the training."""
        try:
            action(*arguments)
        except Exception as error:
            reason = str(error).split("\n")[0][:400]
            print(
                "warning: tracking in MLflow stops here; the run folder has everything. "
                f"{type(error).__name__}: {reason} Store: {store_uri()}",
                file=sys.stderr,
            )
            self._client = None


def run_status(run_id: str) -> str:
    """MLflow's word for how a run stands.

    Args:
        run_id: MLflow's run id.

    Returns:
        For instance `FINISHED`; empty where the store has no such run, or it was deleted.

    Raises:
        ConfigError: The store does not answer.
    """
    try:
        client = Tracker()._connect()
        # A search, because asking for a run that is not there raises the errors of a dead store.
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(experiments, f"attributes.run_id = '{run_id}'")
    # MLflow raises its own classes and those of its store.
    except Exception as error:
        reason = str(error).split("\n")[0][:200]
        raise ConfigError(f"MLflow does not answer ({reason}). Store: {store_uri()}") from error
    return str(found[0].info.status) if found else ""


def _create_experiment(client: Any, name: str) -> str:
    """Makes an experiment; where another training has just made it, takes that one."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, _artifact_location(name)))
    except MlflowException:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return str(experiment.experiment_id)


def _param_name(key: str) -> str:
    """A setting's name as MLflow takes it: patterns of layer names have characters it refuses."""
    return re.sub(r"[^\w\-. :/]", "_", key.replace("*", "all"))


def fetch_run(run_id: str, folder: Path) -> Path:
    """Copies what MLflow keeps of a finished training into a folder.

    Args:
        run_id: MLflow's run id.
        folder: Receives the model and its records; made if missing.

    Returns:
        The folder, which is then read like a run folder.

    Raises:
        ConfigError: The store does not answer, or has no such run, or the run has no model.
    """
    names = ("best.keras", "experiment.json", "result.json", "calibration.json")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        client = Tracker()._connect()
        there = {artifact.path for artifact in client.list_artifacts(run_id)}
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name in there:
                client.download_artifacts(run_id, name, str(folder))
    # MLflow raises its own classes and those of its store.
    except Exception as error:
        reason = str(error).split("\n")[0][:200]
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        raise ConfigError(f"MLflow run {run_id} cannot be read ({reason}). Store: {uri}") from error
    if names[0] not in there:
        raise ConfigError(f"MLflow run {run_id} holds no {names[0]}: it has not finished.")
    (folder / RUN_ID_FILE).write_text(run_id + "\n", encoding="utf-8")
    return folder


def _artifact_location(experiment_name: str) -> str | None:
    """Beside the database: MLflow's own default is the current folder, whatever the database is."""
    uri = store_uri()
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///")).absolute()
    return (database.parent / "mlruns" / experiment_name).as_uri()


def git_commit() -> str:
    """The commit of the package's checkout, `-dirty` where it was changed, or `unknown`."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()
