"""The first use of a new MLflow store, by several trainings at once and after a kill."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.tracking.server import check_store
from fer_keras.tracking.tracker import Tracker

# Forked after the import, which takes seconds: all eight meet within milliseconds.
_EIGHT = """
import os, sys
import mlflow, mlflow.store.tracking.sqlalchemy_store
from fer_keras.tracking.tracker import Tracker
children = []
for number in range(8):
    child = os.fork()
    if not child:
        tracker = Tracker()
        tracker.start("folder", f"run {number}", {"a": 1}, {"b": "2"})
        tracker.log({"loss": 1.0}, 1)
        tracker.finish("FINISHED")
        os._exit(0 if tracker.active else 1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


def _half_made(path: Path, runs: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values ('x')")
        connection.execute("create table _alembic_tmp_tags (key text)")
        connection.execute("create table runs (run_uuid text)")
        connection.executemany("insert into runs values (?)", [(str(n),) for n in range(runs)])
    connection.close()


def test_eight_trainings_make_one_new_store(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EIGHT],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
    )
    assert done.stdout.strip().endswith(str([0] * 8)), done.stderr
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        (runs,) = connection.execute("select count(*) from runs").fetchone()
    connection.close()
    assert runs == 8
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_half_made_store_without_runs_is_made_anew(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "mlflow.db"
    _half_made(path, runs=0)
    with pytest.raises(ConfigError, match="holds no run"):
        check_store(f"sqlite:///{path}")
    tracker = Tracker()
    assert tracker.start("folder", "name", {}, {})
    tracker.finish("FINISHED")
    assert tracker.active
    assert (tmp_path / "mlflow.db.half-made-1").is_file()
    assert "made anew" in capsys.readouterr().err
    check_store(f"sqlite:///{path}")


def test_a_half_made_store_with_runs_is_named_and_kept(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "mlflow.db"
    _half_made(path, runs=1)
    before = path.read_bytes()
    assert Tracker().start("folder", "name", {}, {}) == ""
    assert "was left half-made" in capsys.readouterr().err
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match=r"mv .*mlflow\.db"):
        check_store(f"sqlite:///{path}")
