"""A run folder belongs to one run, also when several start at the same moment."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_new_text
from fer_keras.config import DatasetConfig, Experiment, load_experiment
from fer_keras.training.run_folder import open_run_dir


def _open(folder: Path, seed: int, start: Any, answers: Any) -> None:
    experiment = Experiment("little", seed=seed, dataset=DatasetConfig("fer2013"))
    start.wait()
    try:
        open_run_dir(folder, experiment, resume=False)
        answers.put((seed, "opened"))
    except ConfigError as error:
        answers.put((seed, str(error)))


@pytest.mark.parametrize("same", [True, False])
def test_one_of_two_processes_gets_a_new_run_folder(tmp_path: Path, same: bool) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(20):
        folder = tmp_path / f"run{attempt}"
        start, answers = context.Barrier(2), context.Queue()
        seeds = (0, 0 if same else 1)
        both = [
            context.Process(target=_open, args=(folder, seed, start, answers)) for seed in seeds
        ]
        for process in both:
            process.start()
        got = [answers.get(timeout=60) for _ in both]
        for process in both:
            process.join(60)
        opened = [seed for seed, answer in got if answer == "opened"]
        assert len(opened) == 1, got
        (refused,) = [answer for _, answer in got if answer != "opened"]
        assert ("already holds this run" if same else "holds another experiment") in refused
        assert load_experiment(str(folder / "experiment.json")).seed == opened[0]
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
