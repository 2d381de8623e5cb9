"""What a sweep found: its table, its pictures, its best experiment, and its MLflow run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_keras.common.errors import TrainingError
from fer_keras.common.files import write_text
from fer_keras.config import Experiment, load_experiment, to_json
from fer_keras.data.load import tracked_name
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.tracking.champion import challenge, not_whole
from fer_keras.tracking.tracked import tracked
from fer_keras.tracking.tracker import Tracker, git_commit, read_run_id
from fer_keras.training.sweep.plots import listed_axis, numeric_axis, plot_sweep
from fer_keras.training.sweep.space import Range
from fer_keras.training.sweep.trials import Sweep, read_history, shown, trial_folder

# Importances of settings say nothing before that.
_TRIALS_FOR_IMPORTANCE = 4


@contextmanager
def tracked_sweep(sweep: Sweep, folder: Path, command: str, track: bool) -> Iterator[Tracker]:
    """The MLflow run that the trials are nested in.

    Args:
        sweep: What runs.
        folder: Its folder, which keeps the id of the run.
        command: The command line, for the record.
        track: Whether MLflow gets the run.

    Yields:
        Its tracker.
    """
    experiment = sweep.experiment
    words = {f"varied.{word.partition('=')[0]}": word.partition("=")[2] for word in _words(sweep)}
    if sweep.runs:
        words = {f"varied.{each.key}": ",".join(map(str, each.values)) for each in sweep.space()[0]}
    params = {
        "name": f"{experiment.name} (sweep)",
        **words,
        "trials": sweep.total,
        "prune": sweep.prune,
        "select_by": sweep.monitor,
    }
    tags = {"experiment": experiment.name, "git_commit": git_commit(), "command": command}
    name = f"{experiment.name}-seed{experiment.seed} sweep"
    data = tracked_name(experiment.dataset.name, experiment.dataset.source)
    with tracked(folder, data, name, params, tags, enabled=track) as tracker:
        tracker.artifact(folder / "sweep.json")
        yield tracker


def write_report(study: Any, sweep: Sweep, folder: Path, tracker: Tracker) -> str:
    """Writes `trials.csv`, `summary.md`, `best.json` and `sweep.png`.

    Args:
        study: Its Optuna study.
        sweep: What ran.
        folder: Its folder.
        tracker: Of `tracked_sweep`; gets all files and the figures of the trials.

    Returns:
        The table and the command that trains the best settings again.

    Raises:
        TrainingError: No trial finished.
    """
    trials = study.get_trials(deepcopy=False)
    rows = [_row(trial, sweep, folder) for trial in trials]
    sign = -1 if sweep.direction == "maximize" else 1
    order = {"complete": 0, "pruned": 1}
    # Equal figures keep their order: the earlier trial is preferred.
    rows.sort(key=lambda row: (order.get(row["state"], 2), sign * (row[sweep.monitor] or 0)))
    if rows[0]["state"] != "complete":
        reasons = [trial.user_attrs["reason"] for trial in trials if "reason" in trial.user_attrs]
        why = f" The first one that failed: {reasons[0]}" if reasons else ""
        raise TrainingError(f"None of {len(rows)} trials finished. Path: {folder}.{why}")
    write_csv(folder / "trials.csv", rows)
    best = rows[0]
    experiment = load_experiment(str(trial_folder(folder, best["trial"])))
    write_text(folder / "best.json", to_json(experiment))
    _draw(study, sweep, folder / "sweep.png")
    summary = _summary(rows, sweep, folder, experiment)
    write_text(folder / "summary.md", summary)

    for trial in trials:
        if trial.value is not None:
            tracker.log({f"trial_{sweep.monitor}": trial.value}, trial.number)
    tracker.log({f"best_{_figure(sweep)}": best[sweep.monitor]}, len(trials))
    for name in ("trials.csv", "summary.md", "best.json", "sweep.png"):
        tracker.artifact(folder / name)
    return summary + _challenge(tracker, trial_folder(folder, best["trial"]), experiment)


def _challenge(tracker: Tracker, run_dir: Path, experiment: Experiment) -> str:
    """Lets the best trial challenge the champion; the line that says how that ended."""
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    run_id = read_run_id(run_dir)
    if not tracker.active or not run_id or result["fallback"]:
        return ""
    smaller = not_whole(experiment)
    if smaller:
        return f"champion  not challenged: {smaller}"
    challenger = Tracker()
    challenger.attach(run_id)
    return challenge(challenger, result)


def _words(sweep: Sweep) -> tuple[str, ...]:
    return (*sweep.grid, *sweep.search)


def _figure(sweep: Sweep) -> str:
    return sweep.monitor.removeprefix("val_")


def _row(trial: Any, sweep: Sweep, folder: Path) -> dict[str, Any]:
    """One row of `trials.csv`; cells that a trial has not are empty."""
    run_dir = trial_folder(folder, trial.number)
    result_path = run_dir / "result.json"
    result = json.loads(result_path.read_text()) if result_path.exists() else {}
    low, high = result.get("accuracy_interval", ("", ""))
    history = read_history(run_dir)
    grid, search = sweep.space()
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        **{each.key: trial.params.get(each.key, "") for each in (*grid, *search)},
        sweep.monitor: trial.value,
        "accuracy": result.get("accuracy", ""),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": result.get("balanced_accuracy", ""),
        "n": result.get("n", ""),
        "label_rule": result.get("label_rule", ""),
        "best_epoch": result.get("best_epoch", ""),
        "epochs": len(history),
        "minutes": round(sum(row["seconds"] for row in history) / 60, 2),
        "run": run_dir.name,
        "reason": trial.user_attrs.get("reason", ""),
    }


def _summary(rows: list[dict[str, Any]], sweep: Sweep, folder: Path, experiment: Experiment) -> str:
    grid, search = sweep.space()
    keys = [each.key for each in (*grid, *search)]
    header = ["trial", *(_short(key, keys) for key in keys)]
    header += [sweep.monitor, "accuracy [95 %]", "balanced", "best epoch", "minutes", "state"]
    table = []
    for row in rows:
        interval = ""
        if row["accuracy"] != "":
            low, high = row["accuracy_low"], row["accuracy_high"]
            interval = f"{row['accuracy']:.4f} [{low:.4f}, {high:.4f}]"
        value = row[sweep.monitor]
        table.append(
            [
                str(row["trial"]),
                *(shown(row[key]) for key in keys),
                "" if value is None else f"{value:.4f}",
                interval,
                f"{row['balanced_accuracy']:.4f}" if row["balanced_accuracy"] != "" else "",
                f"{row['best_epoch']}/{row['epochs']}"
                if row["best_epoch"]
                else f"-/{row['epochs']}",
                f"{row['minutes']:.1f}",
                row["state"],
            ]
        )
    if sweep.published:
        header.append("published")
        table = [[*cells, ""] for cells in table]
        blank = [""] * (len(header) - 2)
        table += [[str(each["name"]), *blank, _published(each)] for each in sweep.published]
    counts = {
        state: sum(row["state"] == state for row in rows)
        for state in ("complete", "pruned", "fail")
    }
    best = rows[0]
    failed = [f"- trial {row['trial']} failed: {row['reason']}" for row in rows if row["reason"]]
    lines = [
        f"# Sweep of {sweep.experiment.name} on {experiment.dataset.name}",
        "",
        f"{counts['complete']} trials finished, {counts['pruned']} were pruned, {counts['fail']} "
        f"failed. Compared by {sweep.monitor} (n {best['n']:,}, {best['label_rule']}); no test "
        "picture was read.",
        "",
        markdown_table(header, table),
        "",
        *([*failed, ""] if failed else []),
        f"The best of {counts['complete']} on the same pictures is better there than elsewhere: "
        "score it on the test split before you quote it.",
        "",
        f"Best: trial {best['trial']}, {folder / best['run']}. Its settings with another seed:",
        f"python -m fer_keras.train --exp {folder / 'best.json'} --seed {experiment.seed + 1}",
        "",
    ]
    return "\n".join(lines)


def _published(figures: Mapping[str, Any]) -> str:
    """The published figures of one run in one cell."""
    names = {"val_accuracy": "", "balanced_accuracy": "balanced ", "best_epoch": "epoch "}
    found = {name: figures[name] for name in names if name in figures}
    return ", ".join(
        f"{names[name]}{value:.4f}" if isinstance(value, float) else f"{names[name]}{value}"
        for name, value in found.items()
    )


def _short(key: str, keys: list[str]) -> str:
    """The last part of a key where that is clear."""
    last = key.rsplit(".", 1)[-1]
    return last if [each.rsplit(".", 1)[-1] for each in keys].count(last) == 1 else key


def _draw(study: Any, sweep: Sweep, path: Path) -> None:
    """Draws `sweep.png`; the importance of settings is worked out by Optuna."""
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    trials = [each for each in study.get_trials(deepcopy=False, states=states) if each.params]
    trials = [each for each in trials if each.value is not None]
    finished = [each.state is optuna.trial.TrialState.COMPLETE for each in trials]
    grid, search = sweep.space()
    varied = [each for each in (*grid, *search) if isinstance(each, Range) or len(each.values) > 1]
    keys = [each.key for each in varied]
    importance = {}
    if len(keys) > 1 and sum(finished) >= _TRIALS_FOR_IMPORTANCE:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=keys)
        importance = {_short(key, keys): share for key, share in shares.items()}
    axes = []
    for each in varied:
        values = [trial.params[each.key] for trial in trials]
        name = _short(each.key, keys)
        if isinstance(each, Range):
            axes.append(numeric_axis(name, values, log=each.log))
        else:
            axes.append(listed_axis(name, values, each.values))
    plot_sweep(
        path,
        title=f"{sweep.experiment.name} on {sweep.experiment.dataset.name}: {len(trials)} trials",
        monitor=sweep.monitor,
        numbers=[trial.number for trial in trials],
        values=[trial.value for trial in trials],
        finished=finished,
        importance=importance,
        axes=axes,
    )
