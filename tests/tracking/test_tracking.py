"""What MLflow gets, and what happens when it is not there."""

from pathlib import Path
from typing import Any

import pytest

from fer_keras.config import flatten
from fer_keras.tracking.tracker import Tracker, git_commit


def test_flatten() -> None:
    nested = {"a": 1, "b": {"c": 2, "d": {"e": [3]}}}
    assert flatten(nested) == {"a": 1, "b.c": 2, "b.d.e": [3]}


def test_commit_is_a_word() -> None:
    assert git_commit().strip()


def test_off_tracks_nothing(tmp_path: Path) -> None:
    tracker = Tracker(enabled=False)
    assert tracker.start("x", "y", {}, {}) == ""
    tracker.log({"loss": 1.0}, 1)
    tracker.finish("FINISHED")
    assert not list(tmp_path.iterdir())


def test_a_store_that_dies_on_the_way_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, store: Path, capsys: Any
) -> None:
    tracker = Tracker()
    assert tracker.start("x", "y", {"a": 1}, {"b": "c"})

    def gone(*arguments: Any, **keywords: Any) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(tracker._client, "log_batch", gone)
    for step in range(3):
        tracker.log({"loss": 1.0}, step)
    tracker.finish("FINISHED")
    assert capsys.readouterr().err.count("the server is gone") == 1


def test_a_nested_run_names_its_parent(store: Path) -> None:
    parent, child = Tracker(), Tracker()
    parent_id = parent.start("x", "folds", {}, {})
    child_id = child.start("x", "fold 0", {}, {}, parent_run_id=parent_id)
    run = child._client.get_run(child_id)
    assert run.data.tags["mlflow.parentRunId"] == parent_id
