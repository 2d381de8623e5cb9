"""The page of the tracked runs: what it refuses, what it starts, and that it leaves nothing."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import fer_keras.ui as ui
from fer_keras.common.errors import ConfigError
from fer_keras.tracking.page_view import view_address, view_tags
from fer_keras.tracking.server import check_store
from fer_keras.tracking.tracker import Tracker, store_uri


def test_a_folder_without_runs_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"No tracked runs at {tmp_path / 'mlflow.db'}"):
        ui.main([])
    assert not list(tmp_path.iterdir())


def test_the_store_of_the_folder_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The address of the default store is relative, which sqlite's read-only mode does not take."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values ('1')")
        database.commit()
    check_store("sqlite:///mlflow.db")


def test_a_server_has_its_own_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"open http://127\.0\.0\.1:9"):
        ui.main([])


def test_a_taken_port_is_refused(store: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} cannot be used"):
            ui.main(["--port", str(port)])


def test_it_looks_where_training_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////a/b.db")
    assert store_uri() == "sqlite:////a/b.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert store_uri() == "sqlite:///mlflow.db"


def test_stop_ends_the_workers_too() -> None:
    script = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True); time.sleep(60)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert server.stdout is not None
    worker = int(server.stdout.readline())
    ui.stop(server)
    assert server.returncode == -signal.SIGTERM
    assert _ended(worker)


def _ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only not yet collected."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_an_experiment_has_its_view_and_an_old_one_gets_it(store: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(store_uri())
    old = client.create_experiment("old")
    for name in ("old", "new"):
        Tracker().start(name, "run", {}, {})
    tags = view_tags()
    for name in ("old", "new"):
        found = client.get_experiment_by_name(name)
        assert {key: found.tags[key] for key in tags} == tags
    address = view_address("http://127.0.0.1:5000", old, tags)
    assert address.startswith(f"http://127.0.0.1:5000/#/experiments/{old}/runs?viewStateShareKey=")
    assert "viewStateShareKey" not in view_address("http://127.0.0.1:5000", old, {})
