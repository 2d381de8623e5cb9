"""The MLflow server behind `python -m fer_keras.ui`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, TrainingError
from fer_keras.tracking.page_view import view_address
from fer_keras.tracking.store import check_whole, missing_database

_HOST = "127.0.0.1"


# Importing MLflow and opening the store takes seconds, on a busy machine many.
_START_TIMEOUT_S = 120
# Runs beside each other; more do not fit a screen.
_COMPARED = 5


def check_store(uri: str) -> None:
    """Refuses a store that has no page to be started for.

    Args:
        uri: Of `tracking.store_uri`.

    Raises:
        ConfigError: It is a server, or a file that is not there or was left half-made.
    """
    if uri.startswith(("http://", "https://")):
        raise ConfigError(f"The runs are tracked by a server, which has the page: open {uri}.")
    missing = missing_database(uri)
    if missing:
        raise ConfigError(
            f"No tracked runs at {missing}. Change to the folder where you train, train "
            "something first, or name the store in MLFLOW_TRACKING_URI."
        )
    if uri.startswith("sqlite:///"):
        check_whole(Path(uri.removeprefix("sqlite:///")).absolute())


def check_port(port: int) -> None:
    """Refuses a port that is taken.

    Raises:
        ConfigError: Something listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} cannot be used: {error.strerror}. Choose another one: --port N."
            ) from None


def serve(uri: str, port: int, log: Path | None = None) -> "subprocess.Popen[bytes]":
    """Starts MLflow's server in a process group of its own and waits until it answers.

    Args:
        uri: The store.
        port: A free port of the loopback interface.
        log: Gets what the server says; None throws it away.

    Returns:
        The server; `stop` ends it.

    Raises:
        TrainingError: It ended, or did not answer in time.
    """
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Jobs of language models, with worker processes of their own.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "FER_KERAS_STORE": uri,
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "--log-level", "warning"]
    command += ["--host", _HOST, "--port", str(port), "fer_keras.tracking.page_app:application"]
    with (log or Path(os.devnull)).open("ab") as output:
        server = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # MLflow's worker outlives a killed server: the group is ended as one.
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise TrainingError(f"MLflow's server ended with {server.returncode} on {uri}.")
            if time.monotonic() > deadline:
                raise TrainingError(f"MLflow's server did not answer in {_START_TIMEOUT_S} s.")
            time.sleep(0.2)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Ends the server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue


def experiment_lines(base: str) -> list[str]:
    """Name and address of the table of runs of each experiment.

    Args:
        base: The address of a server that answers.
    """
    found = _ask(base, "experiments/search", {"max_results": 100}).get("experiments", [])
    lines = []
    for each in sorted(found, key=lambda each: each["name"]):
        tags = {tag["key"]: tag["value"] for tag in each.get("tags", [])}
        if each["name"] != "Default":
            address = view_address(base, each["experiment_id"], tags)
            lines.append(f"  {each['name']:<16} {address}")
    return lines


def comparison_line(base: str) -> str:
    """The address of the comparison of the last runs of the experiment with the newest one.

    Args:
        base: The address of a server that answers.

    Returns:
        Empty where fewer than two runs have finished there.
    """
    experiments = _ask(base, "experiments/search", {"max_results": 100}).get("experiments", [])
    query = {
        "experiment_ids": [each["experiment_id"] for each in experiments],
        "filter": "attributes.status = 'FINISHED' and metrics.best_accuracy >= 0",
        "order_by": ["attributes.start_time DESC"],
        "max_results": 100,
    }
    runs = [run["info"] for run in _ask(base, "runs/search", query).get("runs", [])]
    same = [run for run in runs if run["experiment_id"] == runs[0]["experiment_id"]][:_COMPARED]
    if len(same) < 2:
        return ""
    ids = json.dumps([run["run_id"] for run in same], separators=(",", ":"))
    of = json.dumps([same[0]["experiment_id"]])
    address = f"#/compare-runs?runs={urllib.parse.quote(ids)}&experiments={urllib.parse.quote(of)}"
    return f"  the last {len(same)} runs   {base}/{address}"


def _ask(base: str, what: str, query: dict[str, Any]) -> dict[str, Any]:
    """The answer of MLflow's REST interface."""
    request = urllib.request.Request(
        f"{base}/api/2.0/mlflow/{what}",
        data=json.dumps(query).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
