"""PyTorch files and pickles of arrays are read as data: the tensors come out, no code runs."""

import collections
import io
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ModelFileError
from fer_keras.loading import pickle_tree
from fer_keras.loading.torch_files import load_torch_tensors

torch = pytest.importorskip("torch")


class Meter:
    """As `RecorderMeter` beside the weights of MA-Net: a class that nobody here knows."""

    def __init__(self) -> None:
        self.current_epoch = 3
        self.epoch_losses = np.zeros((4, 2), np.float32)


class Reader:
    """Leaves a file where a pickle of it is executed."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(4, 3)
    )


def assert_same(found: dict[str, Any], state: dict[str, Any]) -> None:
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], tensor.detach().to(torch.float32).numpy())


@pytest.mark.parametrize("is_archive", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net.state_dict(),
        lambda net: {"iter": 3, "model_state_dict": net.state_dict()},
        lambda net: {"epoch": 3, "state_dict": net.state_dict(), "recorder": Meter()},
        lambda net: {"net": net.state_dict(), "best_PublicTest_acc": 71.5},
        lambda net: {"net": net, "acc": torch.tensor(71.5)},
        lambda net: net,
        lambda net: torch.nn.DataParallel(net),
        lambda net: {f"module.{name}": value for name, value in net.state_dict().items()},
    ],
)
def test_what_programs_save(wrap: Any, is_archive: bool, tmp_path: Path, monkeypatch: Any) -> None:
    net = network()
    state = net.state_dict()
    file = tmp_path / "file.pth"
    torch.save(wrap(net), file, _use_new_zipfile_serialization=is_archive)
    # Neither PyTorch nor the classes in the file are there for the one who reads it.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delattr(sys.modules[__name__], "Meter")
    found = load_torch_tensors(file)
    monkeypatch.undo()
    assert_same(found, state)


@pytest.mark.parametrize("is_archive", [True, False])
def test_types_views_and_order(is_archive: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0)
    tensors = {
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "whole": torch.arange(5),
        "view": base[4:16].view(3, 4),
        "turned": base.view(4, 6).t(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base.view(2, 12)),
    }
    torch.save(tensors, tmp_path / "a.pt", _use_new_zipfile_serialization=is_archive)
    assert_same(load_torch_tensors(tmp_path / "a.pt"), tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_arrays(protocol: int, tmp_path: Path) -> None:
    arrays = {
        "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
        "column": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "big": np.arange(4, dtype=">f4"),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
    found = load_torch_tensors(tmp_path / "a.pkl")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    # Protocol 2 there has the bytes of an array as a string.
    values = np.array([1.0, -2.5], "<f4")
    raw = values.tobytes()
    text = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08" + raw + b"tbs."
    )
    (tmp_path / "a.pkl").write_bytes(text)
    np.testing.assert_array_equal(load_torch_tensors(tmp_path / "a.pkl")["w"], values)


def hostile() -> dict[str, Any]:
    weight = {"weight": torch.ones(2)}
    return {
        "system": {**weight, "x": Reader(os.system, "touch executed")},
        "eval": {**weight, "x": Reader(eval, "open('executed', 'w')")},
        "exec": {**weight, "x": Reader(exec, "open('executed', 'w')")},
        "open": {**weight, "x": Reader(open, "executed", "w")},
        "import": {**weight, "x": Reader(__import__, "antigravity")},
        "root": Reader(os.system, "touch executed"),
        "class": Reader(collections.OrderedDict, [("weight", Reader(os.mkdir, "executed"))]),
    }


@pytest.mark.parametrize("name", ["system", "eval", "exec", "open", "import", "root", "class"])
@pytest.mark.parametrize("is_archive", [True, False])
def test_no_pickle_runs_code(
    name: str, is_archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(hostile()[name], "a.pth", _use_new_zipfile_serialization=is_archive)
    with pytest.raises(ModelFileError, match=r"Expected a PyTorch file .*a\.pth"):
        load_torch_tensors("a.pth")
    Path("plain.pkl").write_bytes(pickle.dumps(Reader(os.system, "touch executed")))
    with pytest.raises(ModelFileError, match="system in the place of a state dict"):
        load_torch_tensors("plain.pkl")
    assert not Path("executed").exists()


def test_code_beside_the_weights_is_not_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = {"weight": torch.ones(2)}
    torch.save({"state_dict": tensors, "recorder": Reader(os.mkdir, "executed")}, "a.pth")
    assert_same(load_torch_tensors("a.pth"), tensors)
    assert not Path("executed").exists()


def archive(data: bytes, storages: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", data)
        for key, raw in storages.items():
            file.writestr(f"a/data/{key}", raw)
    return buffer.getvalue()


def tensor_pickle(size: str, stride: str) -> bytes:
    """A dict with one tensor in the storage "0" of four numbers, written by hand."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK"
        b"\x04tQK\x00" + size.encode("latin-1") + stride.encode("latin-1") + b"\x89}tRs."
    )


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.pth"

    def refused(content: bytes, message: str) -> None:
        file.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            load_torch_tensors(file)

    four = np.arange(4, dtype=np.float32).tobytes()
    file.write_bytes(archive(tensor_pickle("K\x02K\x02\x86", "K\x02K\x01\x86"), {"0": four}))
    np.testing.assert_array_equal(load_torch_tensors(file)["w"], [[0, 1], [2, 3]])
    # A stride of 0 makes any number of numbers of one.
    refused(
        archive(tensor_pickle("J\xff\xff\xff\x7f\x85", "K\x00\x85"), {"0": four}),
        "in a storage of 4 numbers",
    )
    refused(
        archive(tensor_pickle("K\x05\x85", "K\x01\x85"), {"0": four}), "in a storage of 4 numbers"
    )
    refused(
        archive(tensor_pickle("J\xff\xff\xff\xff\x85", "K\x01\x85"), {"0": four}), "is no count"
    )
    refused(archive(tensor_pickle("K\x04\x85", "K\x01\x85"), {}), "without a/data/0")
    # A memo of two thousand million places, strings that are longer than the file.
    file.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(ModelFileError, match="Received none"):
        load_torch_tensors(file)
    refused(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".", "a damaged pickle")
    refused(b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".", "a damaged pickle")
    monkeypatch.setattr(pickle_tree, "MAX_OPCODES", 1000)
    refused(b"\x80\x02" + b"]" * 2000 + b".", "more than 1000 instructions")


def test_a_deep_nest_and_a_module_in_itself(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"\x80\x02)" + b"\x85" * 500_000 + b".")
    with pytest.raises(ModelFileError, match="tuple in the place of a state dict"):
        load_torch_tensors(file)
    # As a key, its hash would exhaust the stack of the process.
    file.write_bytes(b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.")
    with pytest.raises(ModelFileError, match="Received none"):
        load_torch_tensors(file)
    module = network()
    object.__setattr__(module, "_modules", {**module._modules, "own": module})
    torch.save(module, file)
    with pytest.raises(ModelFileError, match=r"as the module 'own\.own"):
        load_torch_tensors(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"

    def refused(content: bytes, message: str) -> None:
        file.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            load_torch_tensors(file)

    refused(b"PK\3\4nothing", "a damaged archive")
    refused(b"", "a damaged pickle")
    refused(b"not a pickle", "a damaged pickle")
    refused(pickle.dumps([1, 2]), "list in the place of a state dict")
    refused(pickle.dumps({"a": 3}), "int named 'a'")
    refused(pickle.dumps({"a": np.array(["x"], object)}), "without its bytes")
    torch.save({"a": torch.ones(100)}, file, _use_new_zipfile_serialization=False)
    refused(file.read_bytes()[:-8], "cut off")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)
    refused(file.read_bytes(), "TorchScript")
