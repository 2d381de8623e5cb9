"""Engines that are asked for run the model, or are refused with the reason."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import write_export

from fer_keras import Recognizer
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.runtime.engines import open_engine, require_engine
from fer_keras.runtime.timing.onnx_session import _provider

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs ONNX Runtime"
)
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs OpenVINO"
)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_that_is_not_installed(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=rf"not installed. Mend: pip install 'fer_keras\[{engine}"
    ):
        require_engine(engine)
    require_engine("litert")


def test_an_unknown_engine() -> None:
    with pytest.raises(ConfigError, match="expected one of litert, onnx, openvino, received 'tvm'"):
        require_engine("tvm")


@needs_onnx
def test_an_export_from_before_there_were_engines(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    assert Recognizer(folder, "none").channels == 1
    with pytest.raises(ModelFileError, match=r"no file for the engine onnx.*--formats onnx"):
        Recognizer(folder, "none", engine="onnx")


def test_litert_refuses_accelerators(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device gpu: LiteRT.*on the processor alone"):
        Recognizer(write_export(tmp_path / "export"), "none", device="gpu")


@needs_onnx
def test_onnx_runtime_refuses_what_it_has_not(tmp_path: Path) -> None:
    from fer_keras.runtime.timing.onnx_session import onnx_session

    content = _onnx_file()
    with pytest.raises(ConfigError, match=r"has cpu.*onnxruntime-gpu for cuda"):
        onnx_session(content, tmp_path / "model.onnx", device="cuda")
    # It would send every picture to a server.
    with pytest.raises(ConfigError, match="--device azure: the installed ONNX Runtime has cpu"):
        _provider("azure", ["AzureExecutionProvider", "CPUExecutionProvider"])
    assert _provider("CUDA", ["CUDAExecutionProvider"]) == "CUDAExecutionProvider"


@needs_onnx
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_accelerator_that_does_not_start_is_no_silent_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime falls back to the processor where the driver is missing."""
    import onnxruntime

    from fer_keras.runtime.timing.onnx_session import onnx_session

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(ConfigError, match=r"--device cuda: .* could not start it here"):
        onnx_session(_onnx_file(), tmp_path / "model.onnx", device="cuda")


@needs_openvino
def test_openvino_refuses_devices_without_driver(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device npu: OpenVINO finds no such device.*cpu"):
        open_engine("openvino", b"", b"", tmp_path / "model.xml", 1, "npu")


@needs_openvino
def test_openvino_is_imported_without_its_telemetry() -> None:
    """Its import reports itself over the network otherwise."""
    code = (
        "import sys; from fer_keras.runtime.engines import import_openvino; import_openvino();"
        "import openvino.tools.ovc.telemetry_utils as t; print(t.tm.__name__);"
        "print('openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]


def _onnx_file() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    return bytes(model.SerializeToString())
