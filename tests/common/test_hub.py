"""A model of the Hugging Face Hub, from a local stand-in of the library's cache; no network."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.hub import local_model
from fer_keras.loading import load_model
from fer_keras.runtime.recognizer import Recognizer

_ROOT = Path(__file__).parents[2]
_MODEL = _ROOT / "saved_models" / "ferplus_tiny"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"

_CODE = """
import sys
from fer_keras.common.errors import FerKerasError
from fer_keras.runtime.recognizer import Recognizer
try:
    recognizer = Recognizer(sys.argv[1])
    print(recognizer.manifest["name"], recognizer.file_name)
except FerKerasError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """What the library leaves on the disk when it has fetched a repository."""
    repository = tmp_path / "hub" / "models--someone--faces"
    shutil.copytree(_MODEL, repository / "snapshots" / _COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_COMMIT)
    return tmp_path / "hub"


def ask(address: str, cache: Path) -> str:
    """What a program of its own is told; the library reads its variables once."""
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    environment = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(_ROOT)}
    words = [sys.executable, "-c", _CODE, address]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_a_model_is_read_from_the_hub(cache: Path) -> None:
    shipped = Recognizer(_MODEL)
    expected = f"{shipped.manifest['name']} {shipped.file_name}"
    assert ask("hf://someone/faces", cache) == expected
    assert ask(f"hf://someone/faces@{_COMMIT}", cache) == expected


def test_what_was_changed_on_the_way_is_refused(cache: Path) -> None:
    file = cache / "models--someone--faces" / "snapshots" / _COMMIT / "labels.txt"
    file.write_text(file.read_text() + "\n")
    assert ask("hf://someone/faces", cache).startswith("ModelFileError")


def test_what_cannot_be_fetched_is_one_line(cache: Path) -> None:
    told = ask("hf://someone/else", cache)
    assert told.startswith("ModelFileError the model cannot be fetched (LocalEntryNotFoundError")
    assert told.endswith("Check the name and the network: hf://someone/else")
    assert "\n" not in told


@pytest.mark.parametrize(
    "address", ["hf://", "hf://faces", "hf://a/b/c", "hf://a/b@", "hf://a/b c"]
)
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(ModelFileError, match=r"model: expected hf://OWNER/NAME or"):
        local_model(address)


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_keras.common.installed.is_installed", lambda _: False)
    with pytest.raises(ConfigError, match=r"pip install 'fer_keras\[hub\]'"):
        local_model("hf://someone/faces")


def test_paths_stay_paths() -> None:
    assert local_model("runs/mine/export") == Path("runs/mine/export")
    assert local_model(Path("hf:/x")) == Path("hf:/x")


def test_training_reads_it_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = load_model("hf://someone/faces")
    assert model.name == "ferplus_tiny_classifier float32"
    assert cache in model.path.parents
