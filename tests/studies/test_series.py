"""Rows with several seeds: resumed, nested, and put into words."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from fer_keras.studies.shared import series
from fer_keras.studies.shared.series import (
    accuracy_cell,
    add_series_arguments,
    difference_cell,
    parent_run,
    plot_limits,
    schedule,
    shared_changes,
    train_series,
)
from fer_keras.studies.shared.trained_rows import Outcome, Row


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_series_arguments(parser, "mine", "ferplus")
    return parser.parse_args(list(words))


def outcome(right: int, label: str = "a") -> Outcome:
    """A made-up run that is right on the first pictures of ten."""
    figures = {"accuracy": right / 10, "n": 10}
    training = {"epochs": 2, "training_minutes": 1.5}
    answers = {str(number): number < right for number in range(10)}
    return Outcome(Row(label, "cross_entropy"), Path(), figures, training, answers, "")


def test_the_command_changes_all_rows() -> None:
    words = ("--dataset", "fer2013", "--epochs", "3", "--limit", "50", "--set", "seed=4")
    assert shared_changes(arguments(*words)) == (
        "dataset.name=fer2013", "training.epochs=3", "dataset.limit=50", "seed=4"
    )  # fmt: skip


def test_several_seeds_in_a_cell() -> None:
    both = [outcome(6), outcome(8)]
    assert accuracy_cell(both).startswith("0.7000 ± 0.1414 [")
    assert accuracy_cell(both[:1]).startswith("0.6000 [")
    # 6 of 10 against 8 of 10: two lost, p = 0.5; then 8 against 8.
    assert difference_cell(both, [outcome(8), outcome(8)]) == "-10.00 (p 0.5, 1)"
    assert difference_cell(both, both) == ""
    assert schedule({"a": both}) == "2 epochs each; 2 trainings, 3 minutes in all"
    assert plot_limits([0.52, 0.68]) == (0.5, 0.7)


def test_trainings_are_nested_resumed_and_their_files_stored(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from fer_keras.training.callbacks import Interrupted

    seen: list[tuple[str, int, str]] = []

    def train(row: Row, run_dir: Path, seed: int, **options: Any) -> Outcome:
        if seed == 1 and len(seen) == 2:
            raise Interrupted
        seen.append((run_dir.name, seed, options["parent_run_id"]))
        return outcome(5, row.label)

    monkeypatch.setattr(series, "train_row", train)
    rows = {"one": Row("one", "cross_entropy"), "two": Row("two", "cross_entropy")}
    given = arguments("--seeds", "0", "1", "--output", str(tmp_path / "study"))
    given.output.mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        parent_run("mine", given.output, given) as tracker,
    ):
        train_series(rows, given.output, given, tracker)
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    assert client.get_run(tracker.run_id).info.status == "KILLED"
    assert [name for name, *_ in seen] == ["one-seed0", "two-seed0"]

    seen.append(("", 0, tracker.run_id))
    with parent_run("mine", given.output, given) as again:
        outcomes = train_series(rows, given.output, given, again)
        (given.output / "mine.md").write_text("x")
    assert again.run_id == tracker.run_id
    assert {parent for *_, parent in seen} == {tracker.run_id}
    assert [len(row) for row in outcomes.values()] == [2, 2]
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["one_accuracy"] == 0.5
    assert [file.path for file in client.list_artifacts(tracker.run_id)] == ["mine.md"]
