"""Sessions of ONNX Runtime with a stated number of threads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, ModelFileError


def onnx_session(content: bytes, path: Path, threads: int = 1, device: str = "cpu") -> Any:
    """Opens an ONNX graph for ONNX Runtime.

    Args:
        content: The file.
        path: Named in messages.
        threads: Of ONNX Runtime.
        device: "cpu", or an accelerator: "cuda" for its CUDAExecutionProvider, and so on.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ModelFileError: Damaged, with weights in other files, or operators that are not built in;
            or ONNX Runtime is not installed.
        ConfigError: The accelerator is not in the installed ONNX Runtime, or cannot be started.
    """
    try:
        import onnx
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise ModelFileError(
            f"An .onnx model needs ONNX Runtime: pip install 'fer_keras[onnx]' ({error}): {path}"
        ) from error
    try:
        # Without looking for weights in other files: a path in the file could name any.
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own class, which differs between its versions
        raise ModelFileError(f"Not a readable ONNX file: {path}") from error
    if any(len(weights.external_data) for weights in model.graph.initializer):
        raise ModelFileError(f"Its weights are in other files, which are not read: {path}")
    provider = _provider(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # of many kinds
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"ONNX Runtime cannot run this file ({reason}): {path}") from error
    # Where a driver is missing it takes the processor without a word.
    if session.get_providers()[0] != provider:
        raise ConfigError(
            f"--device {device}: ONNX Runtime has its {provider}, and could not start it here: "
            "its driver or libraries are missing. Install them, or leave --device out"
        )
    return session


def _provider(device: str, available: Sequence[str]) -> str:
    """ONNX Runtime's name of a device.

    Raises:
        ConfigError: The installed package has no such device.
    """
    by_name = {name.removesuffix("ExecutionProvider").lower(): name for name in available}
    # It sends every input to a server of Microsoft.
    by_name.pop("azure", None)
    if device.lower() not in by_name:
        raise ConfigError(
            f"--device {device}: the installed ONNX Runtime has {', '.join(sorted(by_name))}. "
            "Accelerators come in packages of their own, such as onnxruntime-gpu for cuda, in "
            "place of onnxruntime"
        )
    return by_name[device.lower()]
