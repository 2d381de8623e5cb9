"""One training on several devices and several machines, by data parallelism.

The engines are Keras' own: `keras.distribution.DataParallel` on JAX, for several devices and for
several processes, and `tf.distribute.MirroredStrategy` on TensorFlow, for several devices of one
process. Every device holds all weights and takes its part of every batch. The batch size of the
recipe is that of all devices together, and batch norm takes its statistics over it, so the number
of devices changes the speed and nothing else. See docs/distributed.md.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.config import TrainingConfig
from fer_keras.data.pipeline import Shard
from fer_keras.errors import ConfigError, TrainingError


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
    def shard(self) -> Shard:
        """The part of every batch that this process reads."""
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
        self._check(backend, training.batch_size)
        if self.total_devices == 1:
            return
        if backend == "tensorflow":
            _logical_cpus(self.devices)
        else:
            self._start_jax(seed)

    def scope(self) -> Any:
        """A context in which networks, methods and optimizers are made.

        Raises:
            ConfigError: There are fewer devices.
        """
        import keras

        if self.total_devices == 1 or keras.backend.backend() != "tensorflow":
            return contextlib.nullcontext()
        import tensorflow as tf

        names = [device.name for device in tf.config.list_logical_devices("GPU")]
        names = names or [device.name for device in tf.config.list_logical_devices("CPU")]
        names = [name.removeprefix("/device:") for name in self._first(names)]
        return tf.distribute.MirroredStrategy(names).scope()

    @contextlib.contextmanager
    def running(self, checkpoint: Path) -> Iterator[None]:
        """Around the training: another process that is lost becomes one clear error.

        Args:
            checkpoint: Named in the message.

        Raises:
            TrainingError: A computation across processes failed.
        """
        import keras

        if self.num_processes == 1:
            yield
            return
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            raise TrainingError(
                f"Process {self.process_id} of {self.num_processes} could not compute with the "
                f"others, so one of them is lost ({str(error).splitlines()[0][:120]}). The last "
                "checkpoint stays. Start all processes again with --resume, or another number of "
                f"them: {checkpoint}"
            ) from None
        # From here on each process computes for itself; this waits for all to be here.
        keras.distribution.set_distribution(None)
        jax.distributed.shutdown()

    def _check(self, backend: str, batch_size: int) -> None:
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
        if batch_size % self.total_devices:
            raise ConfigError(
                f"training.batch_size is that of all {self.total_devices} devices together: "
                f"expected a multiple of {self.total_devices}. Received: {batch_size}."
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
                keras.distribution.initialize(
                    self.coordinator, self.num_processes, self.process_id
                )
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

    def _first(self, found: list[Any]) -> list[Any]:
        if len(found) < self.devices:
            raise ConfigError(
                f"--devices: expected at most {len(found)}, which is what there is. "
                f"Received: {self.devices}."
            )
        return found[: self.devices]


ONE_DEVICE = Distribution()


def synchronize_batch_norm(network: Any, on: bool = True) -> None:
    """Makes batch norm of TensorFlow take its statistics over all devices, as it does on JAX.

    Args:
        network: A functional network; its batch norms are changed.
        on: False for a network that is saved: other backends refuse the setting.
    """
    import keras

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on


def _logical_cpus(count: int) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    known = tf.config.get_logical_device_configuration(cpu) or ()
    if len(known) < count:
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one] * count)


def _workers_of_tf_config() -> int:
    """Number of processes that the environment variable names, 0 without it."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        return 0
