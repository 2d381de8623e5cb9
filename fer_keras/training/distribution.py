"""One training on several devices and several machines, by data parallelism.

The engines are Keras' own: `keras.distribution.DataParallel` on JAX, for several devices and for
several processes, and `tf.distribute.MirroredStrategy` on TensorFlow, for several devices of one
process. Every device holds all weights and takes its part of every batch. The batch size of the
recipe is that of all devices together, and batch norm takes its statistics over it, so the number
of devices changes the speed and nothing else. See docs/distributed.md.

Every process reads its rows of the same batches, not a file of its own: a run may be resumed with
another number of processes, in the middle of a pass too.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.common.errors import ConfigError, TrainingError
from fer_keras.config import Experiment, TrainingConfig

if TYPE_CHECKING:
    from fer_keras.data.pipeline import Shard

# In what JAX reports when a computation across processes fails; it has no class of its own.
_OTHERS_GONE = re.compile("gloo|nccl|connection|coordination service|heartbeat", re.IGNORECASE)


@dataclass(frozen=True)
class Distribution:
    """How many devices and processes a training uses, and which process this one is.

    Attributes:
        devices: Devices of each process. On a machine without accelerator they are virtual ones
            that share its cores: of use for tests only.
        coordinator: `HOST:PORT` of process 0, where the others find it; empty for one process.
        num_processes: Number of processes, one or more on each machine.
        process_id: Number of this process, from 0. Number 0 writes files and MLflow, alone.
    """

    devices: int = 1
    coordinator: str = ""
    num_processes: int = 1
    process_id: int = 0

    @property
    def total_devices(self) -> int:
        """Devices of all processes."""
        return self.devices * self.num_processes

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder and MLflow."""
        return self.process_id == 0

    @property
    def shard(self) -> "Shard":
        """The part of every batch that this process reads."""
        from fer_keras.data.pipeline import Shard  # NumPy, which `train --help` does not need

        return Shard(self.process_id, self.num_processes, self.total_devices)

    @property
    def description(self) -> str:
        """What the device line says, empty for one device."""
        if self.total_devices == 1:
            return ""
        processes = f" in {self.num_processes} processes" if self.num_processes > 1 else ""
        return f"{self.total_devices} devices{processes}"

    def start(self, training: TrainingConfig, seed: int) -> None:
        """Makes the devices known to the backend; before anything else is computed.

        Args:
            training: The recipe.
            seed: The run's seed.

        Raises:
            ConfigError: The backend cannot do it, the batch size is not a multiple of the devices,
                or there are fewer devices.
            TrainingError: The other processes were not there in five minutes.
        """
        import keras

        backend = keras.backend.backend()
        self._check(backend, training)
        if self.total_devices == 1:
            return
        if backend == "tensorflow":
            self._start_tensorflow()
        else:
            self._start_jax(seed)

    @contextlib.contextmanager
    def running(self, checkpoint: Path) -> Iterator[None]:
        """Around the training; after it each process computes for itself, on one device.

        Args:
            checkpoint: Named in the message.

        Raises:
            TrainingError: A computation across processes failed.
        """
        import keras

        if self.total_devices == 1:
            yield
        elif keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            try:
                yield
            finally:
                tf.distribute.experimental_set_strategy(None)
        else:
            import jax

            try:
                yield
            except (jax.errors.JaxRuntimeError, ValueError) as error:
                if self.num_processes == 1 or not _OTHERS_GONE.search(str(error)):
                    raise
                raise TrainingError(
                    f"Process {self.process_id} of {self.num_processes} could not compute with "
                    f"the others: one is lost ({str(error).splitlines()[0][:120]}). The last "
                    "checkpoint stays. Start all processes again with --resume, or another number "
                    f"of them: {checkpoint}"
                ) from None
            finally:
                keras.distribution.set_distribution(None)
            if self.num_processes > 1:
                jax.distributed.shutdown()

    def synchronize_batch_norm(self, network: Any, on: bool = True) -> None:
        """Makes batch norm of TensorFlow take its statistics over all devices, as it does on JAX.

        Args:
            network: A functional network; its batch norms are changed.
            on: False while the network is saved: other backends refuse the setting.
        """
        import keras

        if self.total_devices == 1 or keras.backend.backend() != "tensorflow":
            return
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = on

    def _check(self, backend: str, training: TrainingConfig) -> None:
        if self.devices < 1:
            raise ConfigError(f"--devices: expected at least 1. Received: {self.devices}.")
        if backend == "tensorflow" and _workers_of_tf_config() > 1:
            raise ConfigError(
                "TF_CONFIG names several workers, but TensorFlow's MultiWorkerMirroredStrategy "
                "does not work with model.fit of Keras 3 (keras issue 20585). Unset TF_CONFIG and "
                "use --backend jax --coordinator HOST:PORT --num-processes N --process-id I."
            )
        if backend != "jax" and (self.coordinator or self.num_processes > 1):
            raise ConfigError(
                f"Several processes need --backend jax. Received: {backend}. TensorFlow and "
                "PyTorch have no such engine in Keras 3 that works with model.fit."
            )
        if backend == "torch" and self.devices > 1:
            raise ConfigError(
                "Keras has no data parallelism for PyTorch in model.fit. Use --backend jax or "
                f"tensorflow. Received: --devices {self.devices} on torch."
            )
        if self.num_processes < 1 or not 0 <= self.process_id < self.num_processes:
            raise ConfigError(
                "--process-id: expected 0 to --num-processes - 1. Received: "
                f"{self.process_id} of {self.num_processes}."
            )
        if bool(self.coordinator) != (self.num_processes > 1):
            raise ConfigError(
                "Expected --coordinator HOST:PORT together with --num-processes of at least 2. "
                f"Received: {self.coordinator or 'no coordinator'}, {self.num_processes}."
            )
        if training.batch_size % self.total_devices:
            raise ConfigError(
                f"training.batch_size is that of all {self.total_devices} devices together: "
                f"expected a multiple of {self.total_devices}. Received: {training.batch_size}."
            )
        if training.skip_learned and self.total_devices > 1:
            # Each device would know the losses of its own part of the batch.
            raise ConfigError(
                "training.skip_learned: expected 0 on several devices. Received: "
                f"{training.skip_learned}. Set it to 0, or train on one device."
            )
        if training.sam_rho and self.devices > 1 and backend == "tensorflow":
            # Each device would climb along the gradient of its own part of the batch.
            raise ConfigError(
                "training.sam_rho: expected 0 on several devices of TensorFlow. Received: "
                f"{training.sam_rho}. Mend: --backend jax"
            )

    def _start_jax(self, seed: int) -> None:
        import jax
        import keras

        if self.devices > 1:
            jax.config.update("jax_num_cpu_devices", self.devices)
        if self.num_processes > 1:
            # With a seed that is already set, Keras need not agree on one across processes.
            keras.utils.set_random_seed(seed)
            try:
                keras.distribution.initialize(self.coordinator, self.num_processes, self.process_id)
            except (RuntimeError, ValueError) as error:
                raise TrainingError(
                    f"Process {self.process_id} of {self.num_processes} did not find the others "
                    f"({str(error).splitlines()[0][:160]}). Coordinator: {self.coordinator}."
                ) from None
        devices: list[Any] = []
        for process in range(self.num_processes):
            local = [each for each in jax.devices() if each.process_index == process]
            devices += self._first(local)
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        )

    def _start_tensorflow(self) -> None:
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            cpu = tf.config.list_physical_devices("CPU")[0]
            known = tf.config.get_logical_device_configuration(cpu) or ()
            if len(known) < self.devices:
                virtual = [tf.config.LogicalDeviceConfiguration()] * self.devices
                tf.config.set_logical_device_configuration(cpu, virtual)
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        names = [device.name for device in tf.config.list_logical_devices(kind)]
        strategy = tf.distribute.MirroredStrategy(self._first(names))
        tf.distribute.experimental_set_strategy(strategy)

    def _first(self, found: list[Any]) -> list[Any]:
        if len(found) < self.devices:
            raise ConfigError(
                f"--devices: expected at most {len(found)}, which is what there is. "
                f"Received: {self.devices}."
            )
        return found[: self.devices]


ONE_DEVICE = Distribution()


def one_run(experiment: Experiment, run_dir: Path | None) -> Experiment:
    """Refuses what several devices are not for: more than one run in a process.

    Args:
        experiment: What will run.
        run_dir: Of the command line.

    Returns:
        The experiment with the paths of the trained networks that it starts from.

    Raises:
        ConfigError: A cross-validation or growth, no run folder, or an earlier stage that is not
            trained.
    """
    from fer_keras.training.start import with_earlier_stages

    def earlier(first: Experiment) -> Path:
        raise ConfigError(
            f"{first.name} has no finished run in runs. With several devices, train it first."
        )

    if experiment.dataset.every_fold:
        raise ConfigError("A cross-validation runs on one device. Set dataset.fold to one fold.")
    if experiment.growth.first:
        raise ConfigError("A growth has many runs, on one device. Set growth.first=0 for one run.")
    if run_dir is None:
        raise ConfigError("Several devices need --run-dir: a folder that all processes see.")
    return with_earlier_stages(experiment, earlier)


def _workers_of_tf_config() -> int:
    """Number of processes that the environment variable names, 0 without it."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        return 0
