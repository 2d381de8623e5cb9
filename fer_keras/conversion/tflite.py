"""From a Keras network to SavedModel and TFLite, and the answers of what was written.

Nothing here decides what is published: `export` compares the answers with those of Keras.

int8 may keep some operators in float32, as few as the parity gate needs; manifest and card say how
many. A network with valence and arousal has a second output, `valence_arousal`. Uncertainty is a
second file, `model_with_uncertainty.tflite`.
"""

import functools
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import convert as lite_convert
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fer_keras.common.errors import ExportError
from fer_keras.common.progress import each, progress
from fer_keras.loading.tflite_files import load_tflite_bytes
from fer_keras.runtime.engines import LiteRtEngine
from fer_keras.runtime.export_files import OUTPUTS

TIMING_RUNS = 200
UNCERTAINTY_FILE = "model_with_uncertainty.tflite"
_WARM_UP_RUNS = 20
# Shares of the operators, counted from the input, that the int8 file may keep in float32.
_FLOAT_SHARES = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


def in_float32(network: Any) -> Any:
    """The same network with float32 arithmetic, for one that was trained in mixed precision."""
    policies = {str(layer.dtype_policy.name) for layer in network._flatten_layers()}
    mixed = [name for name in policies if name.startswith("mixed_")]
    if not mixed:
        return network
    text = json.dumps(keras.saving.serialize_keras_object(network))
    for name in mixed:
        text = text.replace(f'"{name}"', '"float32"')
    rebuilt = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
    rebuilt.set_weights(network.get_weights())
    return rebuilt


def deploy_graph(network: Any, temperature: float) -> Any:
    """Raw pixels to probabilities `(batch, classes)`, with the temperature inside.

    A network with valence and arousal becomes one with a dict of both `OUTPUTS`.
    """
    scaled = keras.layers.Rescaling(1.0 / temperature, name="temperature", dtype="float32")(
        network.output["logits"]
    )
    softmax = keras.layers.Softmax(name="probabilities", dtype="float32")(scaled)
    affect = network.output.get(OUTPUTS[1])
    outputs = softmax if affect is None else dict(zip(OUTPUTS, (softmax, affect), strict=True))
    return keras.Model(network.inputs[0], outputs, name="deploy")


def frozen_function(deploy: Any) -> Any:
    """The graph from one `image` to its outputs in order, with its weights as constants."""
    shape = (1, *deploy.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    def graph(image: Any) -> Any:
        return deploy(image, training=False)

    return convert_variables_to_constants_v2(graph.get_concrete_function())


def write_saved_model(deploy: Any, folder: Path) -> None:
    """A SavedModel with one signature, `serving_default`: `image` to the outputs by name."""
    shape = (None, *deploy.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    def serve(image: Any) -> dict[str, Any]:
        answers = deploy(image, training=False)
        return answers if isinstance(answers, dict) else {OUTPUTS[0]: answers}

    # Keras' own export stores every weight twice, and constants in place of variables would be
    # folded into one another, with other rounding.
    module = tf.Module()
    module.weights = [variable.value for variable in deploy.variables]
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _converter(frozen: Any) -> Any:
    converter = quietly(lambda: tf.lite.TFLiteConverter.from_concrete_functions([frozen]))
    # No operator outside the interpreter: the file must run on the bare runtime.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def convert(frozen: Any, precision: str) -> bytes:
    """A TFLite file in `float32`, or `dynamic`: 8-bit weights, activations by the picture."""
    converter = _converter(frozen)
    if precision == "dynamic":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with progress(f"converting to {precision}"):
        data: bytes = quietly(converter.convert)
    return data


def write_uncertainty_file(network: Any, deploy: Any, folder: Path, images: Images) -> str:
    """Writes a float32 TFLite file that also says how uncertain it is, for a network that does.

    Programs that run exports expect one output, so it is a file of its own.

    Args:
        network: With the output `uncertainty` `(batch, 1)`.
        deploy: Of `deploy_graph`, of the same network.
        folder: Where to.
        images: On which the uncertainty is compared with that of Keras.

    Returns:
        The name of the file. Its outputs are `probabilities` `(1, classes)` and `uncertainty`
        `(1, 1)`.

    Raises:
        ExportError: The uncertainty differs from that of Keras by more than a thousandth.
    """
    answers = deploy.output
    probabilities = answers[OUTPUTS[0]] if isinstance(answers, dict) else answers
    outputs = {"probabilities": probabilities, "uncertainty": network.output["uncertainty"]}
    both = keras.Model(deploy.inputs[0], outputs)
    data = convert(frozen_function(both), "float32")
    expected = both.predict_on_batch(images.astype(np.float32))["uncertainty"][:, 0]
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    (output,) = (each for each in interpreter.get_output_details() if each["shape"][-1] == 1)
    for image, wanted in zip(images, expected, strict=True):
        interpreter.set_tensor(place, image[np.newaxis].astype(np.float32))
        interpreter.invoke()
        received = float(interpreter.get_tensor(output["index"])[0, 0])
        if not abs(received - wanted) <= 1e-3 * wanted:
            raise ExportError(
                f"Not published: an uncertainty of {wanted:.5g} in Keras became {received:.5g}."
            )
    (folder / UNCERTAINTY_FILE).write_bytes(data)
    return UNCERTAINTY_FILE


def convert_float16(
    float32: bytes, accepted: Callable[[bytes], bool]
) -> tuple[bytes, dict[str, int]]:
    """The float32 file with its weights stored in 16 bits.

    TensorFlow's converter rounds all weights or none. The layers nearest to the input hold few of
    the weights and pass their rounding on to all the others, so where the file is not accepted
    they stay in float32, as few as are needed.

    Returns:
        The file, and how many of its operators with weights keep them in float32.
    """
    data, kept, total = b"", 0, 1
    for share in _FLOAT_SHARES:
        data, kept, total = half_weights(float32, share)
        if accepted(data):
            break
    return data, {"float_operators": kept, "operators": total}


def half_weights(float32: bytes, kept_share: float) -> tuple[bytes, int, int]:
    """Stores weights in 16 bits, as the converter does: a float16 constant and a `DEQUANTIZE`.

    Args:
        float32: A TFLite file.
        kept_share: Share of the operators, from the input on, whose weights stay as they are.

    Returns:
        The file, the number of operators with weights that stayed, and of all with weights.
    """
    operator, types = schema.BuiltinOperator, schema.TensorType
    with_weights = (operator.CONV_2D, operator.DEPTHWISE_CONV_2D, operator.FULLY_CONNECTED)
    model = schema.ModelT.InitFromPackedBuf(bytearray(float32), 0)
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    dequantize = schema.OperatorCodeT()
    dequantize.builtinCode = dequantize.deprecatedBuiltinCode = operator.DEQUANTIZE
    dequantize.version = 3  # The first that takes float16.
    model.operatorCodes.append(dequantize)
    steps: list[Any] = []
    halved: set[int] = set()
    kept = total = 0
    for i, step in enumerate(graph.operators):
        if codes[step.opcodeIndex] not in with_weights:
            continue
        index = int(step.inputs[1])
        tensor = graph.tensors[index]
        values = model.buffers[tensor.buffer].data
        if tensor.type != types.FLOAT32 or values is None or not len(values):
            continue
        total += 1
        if i < round(kept_share * len(graph.operators)):
            kept += 1
            continue
        if index in halved:
            continue
        halved.add(index)
        buffer = schema.BufferT()
        numbers = np.frombuffer(bytes(bytearray(values)), "<f4")
        # A larger weight would become infinite; whether the limit does harm is for the gate to say.
        half = np.clip(numbers, -65504, 65504).astype("<f2")
        buffer.data = np.frombuffer(half.tobytes(), np.uint8)
        model.buffers.append(buffer)
        constant = schema.TensorT()
        constant.name, constant.shape, constant.type = tensor.name, tensor.shape, types.FLOAT16
        constant.buffer = len(model.buffers) - 1
        graph.tensors.append(constant)
        tensor.buffer = 0  # By convention the empty one: from now on it is computed.
        expand = schema.OperatorT()
        expand.opcodeIndex = len(model.operatorCodes) - 1
        expand.inputs, expand.outputs = [len(graph.tensors) - 1], [index]
        steps.append(expand)
    graph.operators = steps + graph.operators
    return _packed(model, len(float32)), kept, total


class _Aligned(schema.BufferT):  # type: ignore[misc]
    """Data at multiples of 16 bytes, which the generated code does not see to."""

    def Pack(self, builder: Any) -> Any:
        data = None if self.data is None else bytes(bytearray(self.data))
        if data:
            builder.StartVector(1, len(data), 16)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if data:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _packed(model: Any, size: int) -> bytes:
    """A file of the model; buffers that nothing uses are emptied."""
    import flatbuffers  # type: ignore[import-untyped]

    used = {tensor.buffer for tensor in model.subgraphs[0].tensors}
    for number, buffer in enumerate(model.buffers):
        aligned = _Aligned()
        metadata = any(entry.buffer == number for entry in model.metadata or ())
        aligned.data = buffer.data if number in used or metadata else None
        model.buffers[number] = aligned
    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_output_names(data: bytes) -> bytes:
    """A TFLite file whose signature, `serving_default`, names its input and its outputs.

    Args:
        data: Of a graph with both `OUTPUTS`, in their order.
    """
    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    graph = model.subgraphs[0]

    def named(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
        maps = []
        for name, index in zip(names, tensors, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), int(index)
            maps.append(entry)
        return maps

    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.inputs = named(["image"], graph.inputs)
    signature.outputs = named(OUTPUTS, graph.outputs)
    model.signatureDefs = [signature]
    return _packed(model, len(data))


def convert_int8(
    frozen: Any, calibration: Images, accepted: Callable[[bytes], bool]
) -> tuple[bytes, dict[str, int]]:
    """A TFLite file with 8-bit weights and activations and a uint8 input of raw pixels.

    The softmax stays in float32: an 8-bit one counts in steps of 1/256. Where that file is not
    accepted, the operators nearest to the input, which move the decision most, and the classifier
    stay in float32 too, as few as are needed.

    Returns:
        The file, and how many of its operators are float32.
    """
    if calibration.max() < 255:
        # The input's step becomes the largest pixel seen / 255, but whoever runs the file hands in
        # raw pixels: its step has to be 1, or each pixel is read as a darker one.
        calibration = np.array(calibration)
        calibration[0].flat[-1] = 255

    def examples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for image in calibration:
            yield [image[np.newaxis].astype(np.float32)]

    converter = _converter(frozen)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    # Calibration and quantisation apart, as in TensorFlow's own QuantizationDebugger: only the
    # second step can be told which operators to leave alone.
    converter.experimental_mlir_quantizer = True
    converter._experimental_calibrate_only = True
    with progress("calibrating int8"):
        calibrated = quietly(converter.convert)
    names = _operator_outputs(calibrated)[:-1]
    data, kept = b"", 0
    for share in _FLOAT_SHARES:
        kept = round(share * len(names))
        floating = {*names[:kept], *(names[-1:] if kept else ())}
        quantize = functools.partial(
            lite_convert.mlir_quantize,
            calibrated,
            input_data_type=tf.uint8,
            output_data_type=tf.float32,
            denylisted_ops={"SOFTMAX"},
            denylisted_nodes=floating or None,
        )
        with progress("converting to int8"):
            data = quietly(quantize)
        kept = len(floating) + 1
        if accepted(data):
            break
    return data, {"float_operators": kept, "operators": len(names) + 1}


def _operator_outputs(data: bytes) -> list[str]:
    """The name of the first output of every operator, in the order they run."""
    graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    return [
        graph.Tensors(graph.Operators(i).Outputs(0)).Name().decode()
        for i in range(graph.OperatorsLength())
    ]


def saved_model_answers(folder: Path, images: Images) -> list[Scores]:
    """Runs the SavedModel that this process has just written; no other is ever loaded."""
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    blocks = []
    for start in range(0, len(images), 64):
        answers = serve(tf.constant(images[start : start + 64].astype(np.float32)))
        blocks.append([answers[name].numpy() for name in OUTPUTS if name in answers])
    return [np.concatenate(column) for column in zip(*blocks, strict=True)]


def tflite_answers(data: bytes, images: Images) -> list[Scores]:
    """What a file answers, by its outputs, `(n, classes)` and where it has it `(n, 2)`."""
    engine = LiteRtEngine(data, 1)
    dtype = engine.inputs[0].dtype
    rows = [
        engine.run(image[np.newaxis].astype(dtype))
        for image in each(images, "comparing with Keras")
    ]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def tflite_probabilities(data: bytes, images: Images) -> Scores:
    """The first of `tflite_answers`."""
    return tflite_answers(data, images)[0]


def ms_per_face(data: bytes, images: Images) -> float:
    """Median milliseconds of one picture on one thread."""
    run, _, _ = load_tflite_bytes(data, Path("the converted model"), threads=1)
    times = []
    for i in range(_WARM_UP_RUNS + TIMING_RUNS):
        image = images[i % len(images)][np.newaxis]
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times[_WARM_UP_RUNS:])), 4)


def quietly(action: Callable[[], Any]) -> Any:
    """Runs a converter step without its remarks; its failure becomes an `ExportError`."""
    logger = logging.getLogger("absl")
    level = logger.level
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        # The converter's C++ part writes to the file descriptor, past Python's warnings.
        with open(os.devnull, "wb") as nowhere, warnings.catch_warnings():
            os.dup2(nowhere.fileno(), 2)
            logger.setLevel(logging.ERROR)
            warnings.simplefilter("ignore")
            return action()
    except OSError:
        raise
    except Exception as error:
        # The converter raises many kinds, most with a page of MLIR after the first line.
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"The conversion failed: {first[:300]}") from error
    finally:
        logger.setLevel(level)
        os.dup2(stderr, 2)
        os.close(stderr)
