"""Sessions of ONNX Runtime with a stated number of threads."""

from pathlib import Path
from typing import Any

from fer_keras.common.errors import ModelFileError


def onnx_session(content: bytes, path: Path, threads: int = 1) -> Any:
    """Opens an ONNX graph for ONNX Runtime on the processor.

    Args:
        content: The file.
        path: Named in messages.
        threads: Of ONNX Runtime.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ModelFileError: Damaged, with weights in other files, or operators that are not built in;
            or ONNX Runtime is not installed.
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
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"ONNX Runtime cannot run this file ({reason}): {path}") from error
