"""Reads `.tflite` files: built-in operators only, checked before they are interpreted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import first_line
from fer_keras.loading.checks import check_tensor_sizes, check_tflite_operators
from fer_keras.loading.classifier import Images, Scores

_TFLITE_INPUTS = {"float32": np.float32, "uint8": np.uint8}


def load_tflite_bytes(
    data: bytes, where: Path, *, threads: int = 1
) -> tuple[Callable[[Images], Scores], tuple[int, ...], str]:
    """Opens a TFLite graph after checking that it holds built-in operators only.

    Args:
        data: The file.
        where: Named in messages.
        threads: Processor threads.

    Returns:
        A function from one image `(1, h, w, c)`, or one pair `(1, 2, h, w, c)`, to scores
        `(1, classes)`, the input shape, and the input type (`"float32"` or `"uint8"`).

    Raises:
        ModelFileError: Damaged, custom operators, or other inputs or outputs than one each; a
            second output with valence and arousal, `(1, 2)`, is left alone.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        # The constructor verifies the structure of the file and runs nothing.
        interpreter = Interpreter(model_content=data, num_threads=threads)
        check_tflite_operators(data, where)
        check_tensor_sizes(interpreter, where)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"Not a usable TFLite file ({first_line(error)}): {where}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    dtype = np.dtype(inputs[0]["dtype"]).name if len(inputs) == 1 else ""
    shape = tuple(int(side) for side in inputs[0]["shape"]) if len(inputs) == 1 else ()
    is_picture = shape[:1] == (1,) and (len(shape) == 4 or (len(shape) == 5 and shape[1] == 2))
    has_affect = len(outputs) == 2 and tuple(outputs[1]["shape"]) == (1, 2)
    if not is_picture or dtype not in _TFLITE_INPUTS or not (len(outputs) == 1 or has_affect):
        raise ModelFileError(
            "Expected one input (1, height, width, channels), or (1, 2, height, width, channels) "
            "for pairs, of float32 or uint8 and one output. "
            f"Received: {len(inputs)} inputs, the first {dtype} {shape}, {len(outputs)} outputs: "
            f"{where}"
        )
    if outputs[0]["dtype"] != np.float32 or len(outputs[0]["shape"]) != 2:
        raise ModelFileError(
            f"Expected a float32 output (1, classes). Received: "
            f"{np.dtype(outputs[0]['dtype']).name} {tuple(outputs[0]['shape'])}: {where}"
        )

    def run(images: Images) -> Scores:
        interpreter.set_tensor(inputs[0]["index"], images.astype(_TFLITE_INPUTS[dtype]))
        interpreter.invoke()
        return np.array(interpreter.get_tensor(outputs[0]["index"]), np.float32)

    return run, shape, dtype
