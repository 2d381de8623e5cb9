"""MLflow's page as `fer_keras.ui` opens it, in headless Chromium, with three small runs.

Run by hand: `python -m pytest tests/slow/test_mlflow_pages.py`. With `FER_KERAS_SCREENSHOTS=FOLDER`
its pictures are kept: those of docs/mlflow.md are made so.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig, to_json

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytest.importorskip("mlflow", reason="needs MLflow")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs chromium on the path", allow_module_level=True)

SIZES = {"train": 1600, "validation": 320, "test": 80}
LEARNING_RATES = {"slow": 0.001, "middle": 0.003, "fast": 0.01}
MODEL = "synthetic_faces-majority"
COLUMNS = (
    "best_accuracy",
    "best_balanced_accuracy",
    "best_macro_f1",
    "best_nll",
    "best_ece",
    "network.name",
    "method.name",
)
# What only the pages for language models have in their menu.
GENAI = ("Prompts", "AI Gateway", "MCP registry")
PATIENCE_MS = 60_000
# From left to right: their order in the page's tree is another one.
HEADERS = """() => [...document.querySelectorAll("[role=columnheader][col-id*='`']")]
  .sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left)
  .map((header) => header.innerText.trim())"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three runs of a small network, and the files beside it."""
    import fer_keras.train as train

    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        # All of a smaller data set: runs with a limit do not compete to be champion.
        patch.setattr("fer_keras.data.datasets.synthetic_faces.SPLIT_SIZES", SIZES)
        patch.setenv("FER_KERAS_CACHE", str(folder / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        for name, rate in LEARNING_RATES.items():
            experiment = Experiment(
                name=name,
                dataset=DatasetConfig(name="synthetic_faces"),
                network=NetworkConfig("compact", {"stem_filters": 8, "widths": [16, 32, 64]}),
                training=TrainingConfig(epochs=12, learning_rate=rate),
            )
            Path(f"{name}.json").write_text(to_json(experiment))
            assert train.main(["--exp", f"{name}.json", "--run-dir", f"runs/{name}"]) == 0
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> Iterator[list[str]]:
    """The addresses that the command prints: root, table of the data set, comparison."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    # Otherwise the setting of this process, in which training has switched it off, would do.
    environment.pop("MLFLOW_DISABLE_TELEMETRY", None)
    command = subprocess.Popen(
        [sys.executable, "-m", "fer_keras.ui", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    addresses: list[str] = []
    try:
        for line in command.stdout:
            addresses += re.findall(r"http://\S+", line)
            if "the last 3 runs" in line:
                break
        assert len(addresses) == 3
        yield addresses
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Chromium's sandbox does not start for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, printed: list[str]) -> Iterator[Any]:
    """A fresh browser; whatever it asks for must be on this machine, and no telemetry."""
    asked: list[str] = []
    with browser.new_context(viewport={"width": 1400, "height": 690}) as context:
        context.on("request", lambda request: asked.append(request.url))
        opened = context.new_page()
        opened.on("websocket", lambda socket: asked.append(socket.url))
        opened.set_default_timeout(PATIENCE_MS)
        yield opened
    assert asked
    local = (f"{printed[0]}/", "data:", "blob:")
    assert [url for url in asked if not url.startswith(local) or "telemetry" in url] == []


def rest(page: Any) -> None:
    """Columns and charts move to their places once their content is there."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)


def keep(page: Any, tmp_path: Path, name: str) -> None:
    """A picture of what the page shows, once it has come to rest."""
    rest(page)
    folder = Path(os.environ.get("FER_KERAS_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"mlflow_{name}.png")


def check_menu(page: Any) -> None:
    """The menu is that of training."""
    assert page.is_visible("text=Model registry")
    for name in GENAI:
        assert not page.is_visible(f"text={name}"), name


def wait_for_runs(page: Any) -> None:
    for name in LEARNING_RATES:
        page.wait_for_selector(f"text={name}-seed0")


@pytest.mark.parametrize("address", ["", "/#/", "/#/experiments/1/traces", "/#/experiments/1"])
def test_every_beginning_is_the_table_of_runs(
    page: Any, printed: list[str], tmp_path: Path, address: str
) -> None:
    page.goto(f"{printed[0]}{address}")
    wait_for_runs(page)
    # The address that is printed for the data set, with what MLflow adds to it.
    assert page.url.startswith(printed[1])
    rest(page)
    assert page.evaluate(HEADERS)[1 : len(COLUMNS) + 1] == list(COLUMNS)
    check_menu(page)
    cells = page.locator("[role=gridcell][col-id='metrics.`best_accuracy`']").all_inner_texts()
    scores = [float(text) for text in cells]
    assert len(scores) == len(LEARNING_RATES)
    assert scores == sorted(scores, reverse=True)
    if not address:
        keep(page, tmp_path, "runs")


def test_the_charts_are_of_epochs_and_of_the_kept_ones(
    page: Any, printed: list[str], tmp_path: Path
) -> None:
    page.goto(f"{printed[1]}&compareRunsMode=CHART")
    wait_for_runs(page)
    for title in ("Kept epoch, validation", "Epochs"):
        page.wait_for_selector(f"text={title}")
    page.wait_for_selector("svg.main-svg")
    keep(page, tmp_path, "charts")


def test_the_printed_address_compares_the_runs(
    page: Any, printed: list[str], tmp_path: Path
) -> None:
    page.goto(printed[2])
    page.wait_for_selector("text=Comparing 3 Runs from 1 Experiment")
    wait_for_runs(page)
    check_menu(page)
    page.wait_for_selector("svg.main-svg")
    axes = page.locator("svg.main-svg .axis-title").all_text_contents()
    assert "training.learning_rate" in axes
    assert page.locator("canvas").count() > 0
    # MLflow begins with the first figure by name, which is the accuracy in training.
    page.locator("[role=combobox]").nth(1).click()
    page.locator("[role=combobox]").nth(1).fill("best_accuracy")
    page.keyboard.press("Enter")
    page.click("text=Comparing 3 Runs from 1 Experiment")
    page.wait_for_selector("svg.main-svg .axis-title >> text=best_accuracy")
    keep(page, tmp_path, "parallel")
    page.click("[aria-label='Parameters - Show diff only']")
    differing = page.get_by_text("training.learning_rate", exact=True).last
    differing.wait_for()
    assert page.get_by_text("training.batch_size", exact=True).count() == 0
    page.get_by_text("Parameters", exact=True).evaluate("heading => heading.scrollIntoView()")
    keep(page, tmp_path, "compare")


def test_a_picture_of_a_run_is_shown(page: Any, printed: list[str], tmp_path: Path) -> None:
    page.goto(printed[1])
    page.click("a:has-text('fast-seed0')")
    page.click("[role=tab]:has-text('Artifacts')")
    for name in ("confusion_matrix_validation", "reliability_validation", "curves"):
        page.click(f"text={name}.png")
        picture = page.wait_for_selector(f"img[alt='{name}.png']")
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
        keep(page, tmp_path, name)


def test_the_model_has_a_champion(page: Any, printed: list[str], tmp_path: Path) -> None:
    page.goto(f"{printed[0]}/#/models")
    page.click(f"a:has-text('{MODEL}')")
    page.wait_for_selector("text=@ champion")
    assert page.locator("text=@ champion").count() == 1
    check_menu(page)
    keep(page, tmp_path, "model")
