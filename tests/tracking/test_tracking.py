"""What MLflow gets, and what happens when it is not there."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fer_keras.config import flatten
from fer_keras.tracking.tracked import tracked
from fer_keras.tracking.tracker import RUN_ID_FILE, Tracker, git_commit


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


def test_a_run_is_opened_beside_the_work_and_what_is_logged_waits_for_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, openers = Tracker._start, list[str]()

    def slowly(self: Tracker, *arguments: Any) -> None:
        openers.append(threading.current_thread().name)
        time.sleep(0.5)
        start(self, *arguments)

    monkeypatch.setattr(Tracker, "_start", slowly)
    first = lambda tracker: tracker.log({"loss": 3.0}, 0)  # noqa: E731
    with tracked(tmp_path, "x", "y", {"a": 1}, {}, first=first) as tracker:
        assert not (tmp_path / RUN_ID_FILE).exists()
        beside = threading.Thread(target=tracker.open, name="beside")
        beside.start()
        tracker.log({"loss": 2.0}, 1)
        assert (tmp_path / RUN_ID_FILE).read_text(encoding="utf-8").strip() == tracker.run_id
        beside.join()
    assert openers == ["beside"]
    run = tracker._client.get_run(tracker.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    history = tracker._client.get_metric_history(tracker.run_id, "loss")
    assert [each.value for each in history] == [3.0, 2.0]


def test_a_run_that_fails_before_it_is_opened_has_failed(store: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        tracked(tmp_path, "x", "y", {}, {}, first=lambda _: None) as tracker,
    ):
        raise ZeroDivisionError
    assert tracker._client.get_run(tracker.run_id).info.status == "FAILED"


def test_what_stops_an_opening_is_told_to_who_needs_the_run() -> None:
    tracker, met = Tracker(), list[str]()

    def fail() -> None:
        raise FileNotFoundError("the run folder is gone")

    def beside() -> None:
        try:
            tracker.open()
        except FileNotFoundError as error:
            met.append(str(error))

    tracker.postpone(fail)
    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert met == ["the run folder is gone"]
    with pytest.raises(FileNotFoundError, match="is gone"):
        tracker.log({"loss": 2.0}, 1)
