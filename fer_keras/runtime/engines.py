"""The programs that can run an export: LiteRT, ONNX Runtime and OpenVINO, behind one interface."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.timing.onnx_session import onnx_session

EngineName = Literal["litert", "onnx", "openvino"]
ENGINES: tuple[EngineName, ...] = ("litert", "onnx", "openvino")
_PACKAGES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino",)}


@dataclass(frozen=True)
class Tensor:
    """Input or output of a model.

    Attributes:
        shape: -1 where any size goes.
        dtype: Of NumPy.
        quantization: Scale and zero point of an 8-bit tensor; (0, 0) for none.
    """

    shape: tuple[int, ...]
    dtype: Any
    quantization: tuple[float, int] = (0.0, 0)


class Engine(Protocol):
    """One model in one program. Not safe to share between threads.

    Attributes:
        name: Of `ENGINES`.
        inputs: Of the model.
        outputs: Of the model.
    """

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs for a batch of the first input, in the input's type.

        Args:
            batch: Of the input's shape; its first side is 1 where the model takes no other.

        Returns:
            An array of its own for each of `outputs`.

        Raises:
            ValueError: It does not fit, or the model fails.
            RuntimeError: The same, by the program's choice.
        """


class LiteRtEngine:
    """LiteRT on the processor; see `Engine`.

    Args:
        content: A TFLite file.
        threads: At least 1.

    Raises:
        ValueError: It cannot be read.
        RuntimeError: It cannot be run.
    """

    name = "litert"

    def __init__(self, content: bytes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        # The default resolver knows the built-in operations alone; others end in an error, here or
        # in the first run.
        self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self.inputs = [
            Tensor(_sides(one["shape_signature"]), one["dtype"], one["quantization"])
            for one in inputs
        ]
        self.outputs = [Tensor(_sides(one["shape"]), one["dtype"]) for one in outputs]
        self._input = inputs[0]["index"]
        self._outputs = [one["index"] for one in outputs]
        self._batch_size = 1

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        if self._batch_size != len(batch) and self.inputs[0].shape[0] == -1:
            self._interpreter.resize_tensor_input(self._input, batch.shape)
            self._interpreter.allocate_tensors()
            self._batch_size = len(batch)
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return [np.asarray(self._interpreter.get_tensor(index)) for index in self._outputs]


class OnnxEngine:
    """ONNX Runtime; see `Engine`.

    Args:
        content: An ONNX file.
        path: Named in messages.
        threads: At least 1.
        device: "cpu", or what ONNX Runtime calls an accelerator, such as "cuda".

    Raises:
        ModelFileError: As `onnx_session`.
        ConfigError: The accelerator cannot be used here.
    """

    name = "onnx"

    def __init__(self, content: bytes, path: Path, threads: int, device: str) -> None:
        self._session = onnx_session(content, path, threads, device)
        types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
        self.inputs, self.outputs = (
            [
                Tensor(
                    tuple(side if isinstance(side, int) else -1 for side in one.shape),
                    types.get(one.type, np.object_),
                )
                for one in ends
            ]
            for ends in (self._session.get_inputs(), self._session.get_outputs())
        )
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        try:
            return [np.asarray(one) for one in self._session.run(None, {self._input: batch})]
        except Exception as error:  # ONNX Runtime's own classes, which it does not export
            raise RuntimeError(str(error)) from error


class OpenVinoEngine:
    """OpenVINO; see `Engine`.

    It computes in float32: left to itself it takes bfloat16 where the processor has it, whose
    probabilities differ in the third decimal.

    Args:
        content: The `.xml` file.
        weights: The `.bin` file.
        path: Named in messages.
        threads: At least 1.
        device: "cpu", or what OpenVINO calls a device, such as "gpu".

    Raises:
        ConfigError: The device cannot be used here.
        RuntimeError: The files cannot be read.
    """

    name = "openvino"

    def __init__(
        self, content: bytes, weights: bytes, path: Path, threads: int, device: str
    ) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        name = device.upper()
        if name.partition(".")[0] not in {one.partition(".")[0] for one in core.available_devices}:
            raise ConfigError(
                f"--device {device}: OpenVINO finds no such device with its driver here, only "
                f"{', '.join(map(str.lower, core.available_devices))}"
            )
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if name == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
        model = core.read_model(content, weights)
        self._model = core.compile_model(model, name, options)
        self.inputs, self.outputs = (
            [
                Tensor(
                    tuple(
                        side.get_length() if side.is_static else -1 for side in one.partial_shape
                    ),
                    one.element_type.to_dtype().type,
                )
                for one in ends
            ]
            for ends in (self._model.inputs, self._model.outputs)
        )

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        answers = self._model(batch)
        return [np.array(answers[i]) for i in range(len(self.outputs))]


def open_engine(
    name: EngineName, content: bytes, weights: bytes, path: Path, threads: int, device: str = "cpu"
) -> Engine:
    """Opens a model.

    Args:
        name: Of `ENGINES`.
        content: The model's file.
        weights: The second file of an OpenVINO model.
        path: Named in messages.
        threads: At least 1.
        device: What runs it: "cpu", or an accelerator by the engine's own name.

    Returns:
        The model in its engine.

    Raises:
        ConfigError: The engine is not installed, or the accelerator cannot be used.
        ModelFileError: An ONNX file is damaged.
        ValueError: Another file cannot be read.
        RuntimeError: The same, by the program's choice.
    """
    if name == "litert":
        if device != "cpu":
            raise ConfigError(
                f"--device {device}: LiteRT's Python package runs models on the processor alone. "
                "Choose --engine onnx or openvino, or leave --device out"
            )
        return LiteRtEngine(content, threads)
    require_engine(name)
    if name == "onnx":
        return OnnxEngine(content, path, threads, device)
    return OpenVinoEngine(content, weights, path, threads, device)


def require_engine(name: str) -> None:
    """Refuses an engine that is unknown or not installed.

    Raises:
        ConfigError: It is, with the command that installs it.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine: expected one of {', '.join(ENGINES)}, received {name!r}")
    missing = [one for one in _PACKAGES.get(name, ()) if importlib.util.find_spec(one) is None]
    if missing:
        raise ConfigError(
            f"--engine {name} needs {' and '.join(missing)}, which is not installed. Mend: "
            f"pip install 'fer_keras[{name}]', or leave --engine out"
        )


def is_installed(name: str) -> bool:
    """Whether the packages of an engine are there."""
    return all(importlib.util.find_spec(one) is not None for one in _PACKAGES.get(name, ()))


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would report its import over the network.

    Returns:
        The module.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    kept = sys.modules.get("openvino_telemetry")
    # With None in its place its import fails, and OpenVINO takes a stub that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if kept is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = kept


def _sides(shape: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in shape)
