"""Runs the trials of a sweep, in one process or several."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, TrainingError
from fer_keras.common.progress import progress
from fer_keras.config import Experiment, load_experiment
from fer_keras.runtime.timing.machine import usable_cores
from fer_keras.training.changes import with_changes
from fer_keras.training.fallback import with_fallback
from fer_keras.training.sweep.space import Value, parse_space, read_runs, table_choices
from fer_keras.training.sweep.trials import (
    Sweep,
    locked,
    open_study,
    read_sweep,
    reopen_trials,
    trial_line,
    work,
)


def run_workers(
    folder: Path, processes: int, words: Sequence[str], lock: int, on_tick: Callable[[], None]
) -> None:
    """Trains the waiting trials in processes of their own, which end when this one does.

    Args:
        folder: The sweep folder; worker N writes `worker-N.log` there.
        processes: How many.
        words: Further words of the workers' command line.
        lock: The descriptor of the folder's lock, which the workers hold too.
        on_tick: Called every second.

    Raises:
        TrainingError: A worker died or ended with an error.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the workers have saved their trials.
    """
    threads = str(max(1, usable_cores() // processes))
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    environment = {**dict.fromkeys(names, threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    command = [sys.executable, "-m", "fer_keras.sweep", "--worker", str(folder), *words]
    workers = []
    logs = [folder / f"worker-{number}.log" for number in range(1, processes + 1)]
    for log in logs:
        with log.open("a") as output:
            # A session of its own: the terminal's Ctrl-C would reach it besides our signal.
            workers.append(
                subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**environment, **os.environ},
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            )

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(1)
            on_tick()
    except KeyboardInterrupt:
        print("saving; a second Ctrl-C does not wait for it", file=sys.stderr)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in workers:
            worker.kill()
    on_tick()
    for worker, log in zip(workers, logs, strict=True):
        if worker.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
            why = last.removeprefix("error: ")
            if worker.returncode < 0:
                why = f"signal {-worker.returncode} (9 is what the system sends if memory ends)"
            raise TrainingError(
                f"A process of the sweep ended early: {why}. Its trial goes on with --resume "
                f"{folder}. Path: {log}."
            )


def new_sweep(arguments: argparse.Namespace, command: str) -> tuple[Path, Sweep]:
    """Checks a new sweep and makes its folder."""
    from fer_keras.training.stages.run_stages import train_earlier_stages

    if not arguments.experiment:
        raise ConfigError("Expected an experiment, or --resume DIR. Received neither.")
    varied = arguments.grid or arguments.search
    if not varied and not arguments.runs:
        raise ConfigError(
            "Nothing to vary. Expected --grid KEY=V1,V2, --search KEY=LOW..HIGH or --runs FILE."
        )
    if varied and arguments.runs:
        raise ConfigError("--runs lists whole settings: leave out --grid and --search.")
    if arguments.trials and not arguments.search:
        raise ConfigError("--trials is for --search. --grid trains each combination once.")
    experiment = with_changes(load_experiment(arguments.experiment), arguments.set)
    parse_space(experiment, arguments.grid, arguments.search)
    runs, published = read_runs(arguments.runs) if arguments.runs else ([], [])
    if runs:
        table_choices(experiment, runs)
    if experiment.dataset.fold < 0:
        raise ConfigError("A sweep trains on one fold: --set dataset.fold=0.")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.sweep_dir or Path("runs") / f"sweep-{experiment.name}-{stamp}"
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty. Go on with its sweep by --resume {folder}, or choose another "
            "--sweep-dir."
        )
    experiment = with_fallback(experiment, arguments.require_data)
    sweep = Sweep(
        train_earlier_stages(experiment, command, not arguments.no_mlflow),
        tuple(arguments.grid),
        tuple(arguments.search),
        arguments.trials or (20 if arguments.search else 1),
        not (arguments.no_prune or runs),
        os.environ.get("KERAS_BACKEND", "tensorflow"),
        tuple(_with_sources(experiment, runs)),
        tuple(published),
    )
    folder.mkdir(parents=True, exist_ok=True)
    sweep.write(folder)
    return folder, sweep


def _with_sources(experiment: Experiment, runs: list[dict[str, Value]]) -> list[dict[str, Value]]:
    """Looks for the pictures of each run of a table before the first one is trained."""
    from fer_keras.data.load import require_source

    if experiment.dataset.fallback_for and any("dataset.source" in run for run in runs):
        print("note: dataset.source is left out of the runs: all see the built-in faces")
        return [{k: v for k, v in run.items() if k != "dataset.source"} for run in runs]
    for source in dict.fromkeys(str(run.get("dataset.source", "")) for run in runs):
        require_source(experiment.dataset.name, source or None)
    return runs


def resumed_sweep(arguments: argparse.Namespace) -> tuple[Path, Sweep]:
    """Reads a sweep that goes on, with more trials where they are asked for."""
    given = ("experiment", "grid", "search", "runs", "set", "no_prune", "sweep_dir", "backend")
    if extra := [name for name in given if getattr(arguments, name)]:
        raise ConfigError(
            f"--resume goes on with the sweep as it is, and takes --trials and --processes. "
            f"Received besides: {', '.join(extra)}."
        )
    folder: Path = arguments.resume
    sweep = read_sweep(folder)
    if arguments.trials and arguments.trials != sweep.trials:
        if arguments.trials < sweep.trials or not sweep.search:
            raise ConfigError(
                f"--trials can only grow, and only where something is searched. The sweep has "
                f"{sweep.trials}. Received: {arguments.trials}."
            )
        sweep = dataclasses.replace(sweep, trials=arguments.trials)
        sweep.write(folder)
    return folder, sweep


def run_sweep(
    folder: Path, sweep: Sweep, *, processes: int = 1, track: bool = True, command: str = ""
) -> str:
    """Trains all trials of a sweep that are not finished, and writes its table and pictures.

    Args:
        folder: The sweep folder, with its `sweep.json`.
        sweep: What that says.
        processes: Trials at the same time.
        track: Whether MLflow gets the sweep and its trials.
        command: The command line, for the record.

    Returns:
        The table and what is best, for the terminal.

    Raises:
        ConfigError: Another process works on the folder.
        TrainingError: No trial finished, or a process died.
        KeyboardInterrupt: Ctrl-C or SIGTERM; `--resume` goes on from there.
    """
    with locked(folder / "sweep.lock", wait=False) as lock:
        # Only now: a folder in use is refused at once.
        from fer_keras.training.callbacks import Interrupted
        from fer_keras.training.sweep.report import tracked_sweep, write_report

        study = open_study(folder, sweep)
        again = reopen_trials(study)
        done = {
            trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()
        }
        print(f"sweep of {sweep.experiment.name}  {sweep.total} trials  {folder}")
        if done or again:
            going_on = f", {len(again)} go on from their checkpoints" if again else ""
            print(f"resumed: {len(done)} trials are done{going_on}")

        def newly_ended() -> list[Any]:
            ended = [
                trial
                for trial in study.get_trials(deepcopy=False)
                if trial.state.is_finished() and trial.number not in done
            ]
            done.update(trial.number for trial in ended)
            bar.update(len(ended))
            return ended

        def show_ended() -> None:
            for trial in newly_ended():
                print(trial_line(trial, sweep), flush=True)

        def say(line: str) -> None:
            _say(line)
            newly_ended()

        waiting = sweep.total - len(done)
        try:
            with (
                progress("sweep", waiting, "trial") as bar,
                tracked_sweep(sweep, folder, command, track) as tracker,
            ):
                if processes == 1:
                    work(folder, say, parent_run_id=tracker.run_id, track=track)
                else:
                    words = ["--parent-run-id", tracker.run_id, *([] if track else ["--no-mlflow"])]
                    run_workers(folder, processes, words, lock, show_ended)
                return write_report(study, sweep, folder, tracker)
        except Interrupted:
            raise KeyboardInterrupt from None


def _say(line: str) -> None:
    print(line, flush=True)


def as_worker(arguments: argparse.Namespace) -> int:
    """Trains trials of a sweep until none waits or the parent ends; returns the exit code."""
    from fer_keras.training.callbacks import Interrupted

    parent = os.getppid()
    try:
        work(
            arguments.worker,
            _say,
            parent_run_id=arguments.parent_run_id,
            track=not arguments.no_mlflow,
            stop=lambda: os.getppid() != parent,
        )
    except Interrupted:
        return 130
    return 0
