"""What is said of a run, once: for the terminal, for MLflow's tags and for `result.json`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_keras.config import Experiment, describe_experiment
from fer_keras.data.load import tracked_name
from fer_keras.data.pipeline import training_prior
from fer_keras.data.samples import Samples
from fer_keras.runtime.pictures import picture_rule_of
from fer_keras.tracking.champion import pictures_id
from fer_keras.tracking.run_names import data_tag, run_name
from fer_keras.tracking.tracker import TrackedData, git_commit
from fer_keras.training.as_weights import options_of
from fer_keras.training.checkpoint import Progress
from fer_keras.training.own_parts import file_digests
from fer_keras.training.task import Task


@dataclass(frozen=True)
class RunRecord:
    """The facts of a run.

    Attributes:
        experiment: What runs.
        run_dir: Its folder.
        train: The training split.
        validation: The validation split.
        task: What is trained.
        device: The line about backend and device.
        command: The command line that started the run.
    """

    experiment: Experiment
    run_dir: Path
    train: Samples
    validation: Samples
    task: Task
    device: str
    command: str

    @property
    def data(self) -> str:
        """The data set, as lines about the run name it."""
        return data_tag(self.experiment)

    @cached_property
    def commit(self) -> str:
        """Of the package's checkout."""
        return git_commit()

    def name(self, part: str) -> str:
        """The name of the MLflow run.

        Args:
            part: Which part of a whole it is, such as `fold 3`; may be empty.
        """
        return run_name(self.experiment, part)

    def tracked_data(self) -> tuple[TrackedData, TrackedData]:
        """Train and validation as MLflow names them."""
        name = tracked_name(self.experiment.dataset.name, self.experiment.dataset.source)
        train, validation = (
            TrackedData(
                name,
                samples.split,
                samples.fingerprint[:36],
                samples.label_rule,
                len(samples),
                dict(zip(samples.class_names, np.bincount(
                    samples.labels, minlength=len(samples.class_names)
                ).tolist(), strict=True)),
            )
            for samples in (self.train, self.validation)
        )  # fmt: skip
        return train, validation

    def tags(self) -> dict[str, str]:
        """What MLflow shows beside the settings."""
        experiment = self.experiment
        return {
            "experiment": experiment.name,
            "method": experiment.method.name,
            "network": self.task.method.network.name,
            "git_commit": self.commit,
            "dataset": data_tag(experiment).removeprefix("dataset="),
            "dataset_fingerprint": self.train.fingerprint,
            "fallback": str(bool(experiment.dataset.fallback_for)).lower(),
            "label_rule": self.train.label_rule,
            "label_order": ",".join(self.train.class_names),
            "backend": keras.backend.backend(),
            "device": self.device,
            "seed": str(experiment.seed),
            "initial_weights": self.task.weights_from,
            "run_dir": str(self.run_dir),
            "command": self.command,
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": "fer_keras.train",
            "mlflow.source.git.commit": self.commit.removesuffix("-dirty"),
            "mlflow.note.content": self.description(),
        }

    def description(self) -> str:
        """What the experiment says of itself, and the command; Markdown."""
        about = describe_experiment(self.experiment.name)
        return f"{about}\n\n`{self.command}`".strip() if self.command else about

    def result(self, figures: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """The content of `result.json`.

        Args:
            figures: Of the kept network on validation.
            progress: Of the finished training.
        """
        experiment, training = self.experiment, self.experiment.training
        kept = progress.kept(training) or {}
        prior = training_prior(
            self.train,
            class_weights=self.task.class_weights,
            sampling=training.sampling,
            prior_tau=experiment.method.options.get("prior_tau", 0.0),
        )
        return {
            **figures,
            "experiment": experiment.name,
            "run": f"{experiment.name} seed {experiment.seed} {data_tag(experiment)}",
            "fallback": bool(experiment.dataset.fallback_for),
            "network": self.task.method.network.name,
            "network_options": options_of(experiment.network),
            "seed": experiment.seed,
            "best_epoch": int(kept["epoch"]),
            "epochs": len(progress.history),
            "train_images": len(self.train),
            "train_label_rule": self.train.label_rule,
            "class_prior": prior,
            "pictures": picture_rule_of(self.train.images, experiment.dataset.enlarge).record(),
            "trainable_parameters": self.task.num_parameters,
            "initial_weights": self.task.weights_from,
            "teacher": self.task.teacher,
            "training_minutes": round(progress.seconds / 60, 2),
            "images_per_second": round(progress.step * training.batch_size / progress.seconds, 1),
            "backend": keras.backend.backend(),
            "device": self.device,
            "git_commit": self.commit,
            "dataset_fingerprint": self.train.fingerprint,
            "validation_pictures": pictures_id(self.validation),
            "tracked_as": tracked_name(experiment.dataset.name, experiment.dataset.source),
            "command": self.command,
            "own_files": file_digests(self.run_dir, experiment),
        }

    def last_line(self, result: Mapping[str, Any]) -> str:
        """The line that a run ends with.

        Args:
            result: Of `result`.
        """
        low, high = result["accuracy_interval"]
        training = self.experiment.training
        return (
            f"{self.experiment.name} seed {self.experiment.seed}  {data_tag(self.experiment)}  "
            f"validation accuracy {result['accuracy']:.4f} [{low:.4f}, {high:.4f}], balanced "
            f"{result['balanced_accuracy']:.4f}  n {result['n']} ({result['label_rule']})  "
            f"{training.keep} epoch {result['best_epoch']}/{training.epochs}  "
            f"{result['training_minutes']} min  {self.run_dir}"
        )

    def next_line(self, tracked: bool) -> str:
        """The line that says what can be done with a run.

        Args:
            tracked: Whether MLflow has it.
        """
        folder = shlex.quote(str(self.run_dir))
        commands = [
            f"python -m fer_keras.report {folder}   a page about it",
            f"python -m fer_keras.export {folder}   files for predict, camera and a Pi",
        ]
        if tracked:
            commands.append("python -m fer_keras.ui   all runs in MLflow")
        return "next:\n" + "\n".join(f"  {command}" for command in commands)
