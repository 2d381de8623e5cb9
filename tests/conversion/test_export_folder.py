"""Exports that are published to one place at the same moment."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from fer_keras.conversion.folder import publish


def _publish(parent: Path, name: str, rounds: int, start: Any, answers: Any) -> None:
    try:
        for number in range(rounds):
            building = parent / f".building-{name}-{number}"
            building.mkdir()
            for file in ("manifest.json", "labels.txt"):
                (building / file).write_text(name)
            start.wait()
            publish(building, parent / "export")
        answers.put("")
    except Exception as error:
        start.abort()
        answers.put(repr(error))


@pytest.mark.parametrize("there", [False, True])
def test_exports_to_one_place_leave_one_of_them_whole(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "manifest.json").write_text("earlier")
    # Never by fork: the threads of a TensorFlow that other tests loaded do not come along.
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(3, timeout=100), context.Queue()
    names = ("a", "b", "c")
    workers = [
        context.Process(target=_publish, args=(tmp_path, name, 40, start, answers))
        for name in names
    ]
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=100) for _ in workers] == ["", "", ""]
    for worker in workers:
        worker.join(60)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    files = {path.name: path.read_text() for path in (tmp_path / "export").iterdir()}
    assert files.keys() == {"manifest.json", "labels.txt"}
    assert len(set(files.values())) == 1
