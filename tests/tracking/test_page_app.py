"""The page around MLflow's: where it opens, and what it tells MLflow's page."""

import asyncio
from pathlib import Path
from typing import Any

import mlflow
import pytest

from fer_keras.tracking.page_app import _Page, first_script, last_table
from fer_keras.tracking.server import comparison_line
from fer_keras.tracking.tracker import Tracker, store_uri


def ask(path: str, headers: list[tuple[bytes, bytes]]) -> tuple[dict[str, Any], bytes, Any]:
    """The answer to a request, and the headers that MLflow's application saw."""
    sent: list[dict[str, Any]] = []
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"22"), (b"etag", b"x")]})
        for part, more in ((b"<html><head>", True), (b"<title></title></head>", False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(_Page(inner, lambda: "#/there")(scope, None, send))  # type: ignore[arg-type]
    body = b"".join(each.get("body", b"") for each in sent[1:])
    return dict(sent[0]["headers"]), body, seen


def test_the_page_gets_the_script_and_nothing_else_does() -> None:
    headers, body, seen = ask("/", [(b"if-none-match", b"x"), (b"host", b"y")])
    assert body.startswith(b"<html><head><script>")
    assert b'"#/there"' in body
    assert headers == {b"content-length": str(len(body)).encode()}
    assert seen == [(b"host", b"y")]
    headers, body, seen = ask("/static-files/a.js", [(b"if-none-match", b"x")])
    assert body == b"<html><head><title></title></head>"
    assert seen == [(b"if-none-match", b"x")]


def test_the_script_chooses_training_and_no_telemetry() -> None:
    script = first_script("#/x")
    assert '"mlflow.workflowType_v1": "machine_learning"' in script
    assert '"mlflow.settings.telemetry.enabled_v1": false' in script


def test_the_root_leads_to_the_table_with_the_newest_run(store: Path) -> None:
    assert last_table(store_uri()) == "#/experiments"
    for name in ("first", "second"):
        Tracker().start(name, "run", {}, {}, watch_system=False)
    of = mlflow.MlflowClient().get_experiment_by_name("second")
    assert of is not None
    assert last_table(store_uri()).startswith(f"#/experiments/{of.experiment_id}/runs?viewState")


def test_the_comparison_is_of_the_last_finished_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{"info": {"run_id": f"r{i}", "experiment_id": "12"[i == 1]}} for i in range(8)]
    answers = {"experiments/search": {"experiments": [{"experiment_id": "1"}]}, "runs/search": {}}
    monkeypatch.setattr("fer_keras.tracking.server._ask", lambda base, what, query: answers[what])
    assert comparison_line("http://h") == ""
    answers["runs/search"] = {"runs": runs}
    line = comparison_line("http://h")
    assert "the last 5 runs" in line
    assert line.endswith(
        "http://h/#/compare-runs?runs=%5B%22r0%22%2C%22r2%22%2C%22r3%22%2C%22r4%22%2C%22r5%22%5D"
        "&experiments=%5B%221%22%5D"
    )
