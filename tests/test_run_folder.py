"""A run folder belongs to one run, also when several start at the same moment."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_new_text
from fer_keras.config import DatasetConfig, Experiment, load_experiment
from fer_keras.training.run_folder import open_run_dir

ATTEMPTS = 20


def _open(parent: Path, seed: int, start: Any, answers: Any) -> None:
    experiment = Experiment("little", seed=seed, dataset=DatasetConfig("fer2013"))
    got = []
    for attempt in range(ATTEMPTS):
        start.wait()
        try:
            open_run_dir(parent / f"run{attempt}", experiment, resume=False)
            got.append("opened")
        except ConfigError as error:
            got.append(str(error))
    answers.put((seed, got))


@pytest.mark.parametrize("same", [True, False])
def test_one_of_two_processes_gets_a_new_run_folder(tmp_path: Path, same: bool) -> None:
    # Never by fork: the threads of a TensorFlow that other tests loaded do not come along.
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2, timeout=100), context.Queue()
    seeds = (0, 0 if same else 1)
    both = [context.Process(target=_open, args=(tmp_path, seed, start, answers)) for seed in seeds]
    for process in both:
        process.start()
    (first, of_first), (second, of_second) = [answers.get(timeout=100) for _ in both]
    for process in both:
        process.join(60)
    assert len(of_first) == len(of_second) == ATTEMPTS
    for attempt, got in enumerate(zip(of_first, of_second, strict=True)):
        assert got.count("opened") == 1, got
        (refused,) = [answer for answer in got if answer != "opened"]
        assert ("already holds this run" if same else "holds another experiment") in refused
        folder = tmp_path / f"run{attempt}"
        opened = first if got[0] == "opened" else second
        assert load_experiment(str(folder / "experiment.json")).seed == opened
        assert [path.name for path in folder.iterdir()] == ["experiment.json"]


def test_a_folder_of_something_else_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(ConfigError, match="not empty"):
        open_run_dir(tmp_path, Experiment("little", dataset=DatasetConfig("fer2013")), False)


def test_a_new_file_takes_the_place_of_none(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.txt"
    write_new_text(path, "first")

    def no_links(*_: Any) -> None:
        raise PermissionError("no links")

    for patched in (False, True):
        if patched:
            monkeypatch.setattr("os.link", no_links)
        with pytest.raises(FileExistsError):
            write_new_text(path, "second")
        assert path.read_text() == "first"
    write_new_text(tmp_path / "b.txt", "without links")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "b.txt"]
