"""What the page consists of, the files of LiteRT.js, and the command."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import CLASS_NAMES, SIDE, tflite, write_card, write_export

from fer_keras import web as command
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.runtime.web import site, vendored
from fer_keras.runtime.web.vendored import NpmPackage

ENTRY = b'import { createWasmLib } from "@litertjs/wasm-utils";\n'


def packed(package: NpmPackage, licence: str = "Apache-2.0", entry: bytes = ENTRY) -> bytes:
    """A package as npm packs it, with small files."""
    files = {name: b"content of " + name.encode() for name in package.files}
    if "wasm/litert_wasm_internal.js" in files:
        files["dist/index.js"] = entry
    files["package.json"] = json.dumps({"license": licence}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(f"package/{name}")
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def offer(folder: Path, package: NpmPackage, content: bytes) -> NpmPackage:
    """Let the fake npm serve a content, and pin its sha512."""
    (folder / f"{package.name.split('/')[1]}@{package.version}").write_bytes(content)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return replace(package, sha512=digest)


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An npm that packs small files, as a program on the path; returns the folder it serves."""
    served, programs = tmp_path / "served", tmp_path / "programs"
    served.mkdir()
    programs.mkdir()
    # The package is the last argument; what stands before it is checked.
    script = programs / "npm"
    script.write_text(
        "#!/bin/sh -e\n"
        'test "$1 $2 $3" = "pack --silent --ignore-scripts"\n'
        f'cp "{served}/${{4#@litertjs/}}" packed.tgz\n'
        "echo packed.tgz\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    pinned = [offer(served, package, packed(package)) for package in vendored.PACKAGES]
    monkeypatch.setattr(vendored, "PACKAGES", tuple(pinned))
    return served


@pytest.fixture
def built(npm: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "vendor"
    vendored.build(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    models = {kind: tflite(kind, batch_size=1) for kind in ("float32", "int8")}
    return write_export(tmp_path / "export", **models)


@pytest.fixture
def _with_vendored(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = vendored.read_vendored(built)
    monkeypatch.setattr(site, "read_vendored", lambda: files)
    monkeypatch.setattr(vendored, "read_vendored", lambda: files)


# ---- the files of LiteRT.js


def test_build_keeps_what_the_page_needs(built: Path) -> None:
    files = vendored.read_vendored(built)
    assert sorted(files) == sorted(name for p in vendored.PACKAGES for name in p.files.values())
    assert b'from "./wasm-utils.js"' in files["litert.js"]
    assert b"@litertjs" not in files["litert.js"]
    record = json.loads((built / "vendored.json").read_text())
    assert [(entry["name"], entry["licence"]) for entry in record] == [
        ("@litertjs/core", "Apache-2.0"),
        ("@litertjs/wasm-utils", "Apache-2.0"),
    ]


def test_build_replaces_an_older_build(built: Path) -> None:
    (built / "left_over.js").write_text("old")
    vendored.build(built)
    assert not (built / "left_over.js").exists()


def test_a_package_that_is_not_the_pinned_one_is_not_used(npm: Path, tmp_path: Path) -> None:
    core = vendored.PACKAGES[0]
    with (npm / f"core@{core.version}").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigError, match="sha512 of @litertjs/core@"):
        vendored.build(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"licence": "GPL-3.0"}, "licence of @litertjs/core .*expected Apache-2.0, received 'GPL"),
        ({"entry": b"no import"}, "expected one import of @litertjs/wasm-utils, found 0"),
    ],
)
def test_a_changed_package_is_refused(
    npm: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: dict[str, str],
    message: str,
) -> None:
    core, other = vendored.PACKAGES
    monkeypatch.setattr(vendored, "PACKAGES", (offer(npm, core, packed(core, **kind)), other))
    with pytest.raises(ConfigError, match=message):
        vendored.build(tmp_path / "vendor")


def test_without_npm_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="npm is not installed"):
        vendored.build(tmp_path / "vendor")


@pytest.mark.usefixtures("npm")
def test_npm_s_own_error_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = replace(vendored.PACKAGES[0], version="0.0.1")
    monkeypatch.setattr(vendored, "PACKAGES", (other,))
    with pytest.raises(ConfigError, match=r"npm pack @litertjs/core@0\.0\.1 failed \(cp: .*"):
        vendored.build(tmp_path / "vendor")


def test_a_missing_build_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"python -m fer_keras\.web build"):
        vendored.read_vendored(tmp_path / "vendor")


def test_an_incomplete_changed_or_older_build_is_found(built: Path) -> None:
    wasm = built / "wasm" / "litert_wasm_internal.wasm"
    content = wasm.read_bytes()
    wasm.unlink()
    with pytest.raises(ConfigError, match=r"litert_wasm_internal\.wasm is missing"):
        vendored.read_vendored(built)
    wasm.write_bytes(content + b"\0")
    with pytest.raises(ConfigError, match="was changed after the build"):
        vendored.read_vendored(built)
    wasm.write_bytes(content)
    record = json.loads((built / "vendored.json").read_text())
    record[0]["version"] = "1.0.0"
    (built / "vendored.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"found 1\.0\.0"):
        vendored.read_vendored(built)
    (built / "vendored.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"vendored\.json is damaged"):
        vendored.read_vendored(built)


# ---- the site


@pytest.mark.usefixtures("_with_vendored")
@pytest.mark.parametrize(("precision", "dtype"), [("float32", "float32"), ("int8", "uint8")])
def test_the_model_and_what_its_folder_says(model: Path, precision: str, dtype: str) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["decision"] = {"reject_threshold": 0.6, "conformal_threshold": 0.2}
    (model / "manifest.json").write_text(json.dumps(manifest))
    files = site.build_site(model, precision)  # type: ignore[arg-type]
    content = (model / f"model_{precision}.tflite").read_bytes()
    assert files["model/model.tflite"].content == content
    facts = json.loads(files["model/model.json"].content)
    assert facts["name"] == "tiny"
    assert facts["precision"] == precision
    assert facts["class_names"] == list(CLASS_NAMES)
    assert (facts["side"], facts["channels"]) == (SIDE, 1)
    assert facts["decision"] == {"reject_threshold": 0.6, "conformal_threshold": 0.2}
    by_class = {name: 0.1 * (i + 1) for i, name in enumerate(CLASS_NAMES)}
    manifest["decision"]["conformal_by_class"] = dict(reversed(by_class.items()))
    (model / "manifest.json").write_text(json.dumps(manifest))
    facts = json.loads(site.build_site(model, precision)["model/model.json"].content)  # type: ignore[arg-type]
    assert facts["decision"]["conformal_by_class"] == list(by_class.values())
    assert facts["input"]["dtype"] == dtype
    assert facts["input"]["scale"] == pytest.approx(1.0)
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("_with_vendored")
def test_the_page_names_only_its_own_files(model: Path) -> None:
    files = site.build_site(model)
    static = {path.name for path in site._STATIC_FOLDER.iterdir() if path.is_file()}
    assert static == {name for name in files if "/" not in name}
    named = set()
    for name in static:
        text = files[name].content.decode()
        # The name of SVG's vocabulary is no address that is fetched.
        hosts = re.findall(r"\w+://\w[^\s\"']*", text.replace("http://www.w3.org/2000/svg", ""))
        assert hosts == [], name
        named |= set(re.findall(r"""(?:href|src)="([^"]+)"|from "\./([^"]+)\"""", text))
    assert len(named) >= 8
    for of_html, of_script in named:
        assert (of_html or of_script) in files


@pytest.mark.usefixtures("_with_vendored")
def test_the_detector_is_served_where_its_package_is_installed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = model / "detector.tflite"
    network.write_bytes(b"network")
    monkeypatch.setattr(site, "weights_file", lambda: network)
    files = site.build_site(model)
    assert files["model/face_detector.tflite"].content == b"network"
    assert json.loads(files["model/model.json"].content)["detector"] == "blazeface"

    def missing() -> Path:
        raise ConfigError("not installed")

    monkeypatch.setattr(site, "weights_file", missing)
    files = site.build_site(model)
    assert "model/face_detector.tflite" not in files
    assert json.loads(files["model/model.json"].content)["detector"] is None


@pytest.mark.usefixtures("_with_vendored")
def test_a_bare_file_needs_its_card(tmp_path: Path) -> None:
    (tmp_path / "bare.tflite").write_bytes(tflite(batch_size=1))
    write_card(tmp_path / "bare.tflite")
    facts = json.loads(site.build_site(tmp_path / "bare.tflite")["model/model.json"].content)
    assert facts["name"] == "bare"
    assert facts["side"] == SIDE
    assert facts["decision"] == {"reject_threshold": 0.0, "conformal_threshold": 1.0}
    write_card(tmp_path / "bare.tflite", value_range=[0, 1])
    with pytest.raises(ModelFileError, match="the page gives raw pixels"):
        site.build_site(tmp_path / "bare.tflite")


@pytest.mark.usefixtures("_with_vendored")
def test_a_free_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"input: LiteRT\.js needs a fixed batch size of 1"):
        site.build_site(write_export(tmp_path / "free", float32=tflite()))


@pytest.mark.usefixtures("_with_vendored")
def test_a_pair_model_is_refused(model: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    (model / "manifest.json").write_text(json.dumps(manifest | {"input_kind": "pair"}))
    with pytest.raises(ModelFileError, match="input_kind: the page runs models of one image"):
        site.build_site(model)


@pytest.mark.usefixtures("_with_vendored")
def test_save_writes_the_page_as_files(model: Path, tmp_path: Path) -> None:
    files = site.build_site(model)
    site.save_site(files, tmp_path / "site")
    for name, file in files.items():
        assert (tmp_path / "site" / name).read_bytes() == file.content
    with pytest.raises(ConfigError, match="--output: expected a new or empty folder"):
        site.save_site(files, tmp_path / "site")


# ---- the command


def test_a_missing_build_ends_the_command_with_2(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fer_keras import web;"
        "from fer_keras.runtime.web import vendored;"
        "from fer_keras.common.errors import run_command;"
        f"vendored.read_vendored.__defaults__ = (Path({str(tmp_path / 'none')!r}),);"
        f"run_command(lambda: web.main(['--model', {str(model)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: the page's LiteRT.js files are not built")
    assert "python -m fer_keras.web build" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("_with_vendored")
def test_save_is_a_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "site"
    assert command.main(["save", "--model", str(model), "--output", str(target)]) == 0
    assert (target / "model" / "model.json").is_file()
    assert str(target) in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["save"], ["--output", "site"]])
def test_output_goes_with_save(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="--output: expected with `save`"):
        command.main(arguments)


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_wrong_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--port", port])
    assert "expected a number in 0..65535" in capsys.readouterr().err


def test_the_page_needs_no_training_stack() -> None:
    code = (
        "import sys, fer_keras.runtime.web.site, fer_keras.runtime.web.server, fer_keras.web;"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'sklearn', 'scipy', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
