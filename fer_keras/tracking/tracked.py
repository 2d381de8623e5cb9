"""One MLflow run around a block of work, and the file in a folder that remembers its id."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_keras.common.errors import Stopped
from fer_keras.common.files import write_text
from fer_keras.common.progress import each, progress
from fer_keras.tracking.tracker import RUN_ID_FILE, Tracker, read_run_id


@contextmanager
def tracked(
    folder: Path,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    *,
    enabled: bool = True,
    parent_run_id: str = "",
    first: Callable[[Tracker], None] | None = None,
) -> Iterator[Tracker]:
    """Opens the MLflow run of a folder, a new one or that of before, and ends it with its status.

    Args:
        folder: Keeps the id of the run, by which work that goes on finds it again.
        experiment: MLflow's experiment: the data set.
        name: Of the run.
        params: Flat parameters. MLflow's never change, so a run that goes on keeps its own.
        tags: Commit, data set, backend and the like.
        enabled: False tracks nothing.
        parent_run_id: The MLflow run that this one is nested in.
        first: Logs what a run begins with. With it the run is not opened here but by
            `Tracker.open`, which the block may call in a thread: MLflow takes seconds to load.

    Yields:
        The tracker. The run ends as FINISHED; as KILLED where the block is left by `Stopped` or
        Ctrl-C, which go on to the caller; else as FAILED.
    """
    tracker = Tracker(enabled)
    earlier = read_run_id(folder)
    known = {} if earlier else params

    def start() -> None:
        run_id = tracker.start(experiment, name, known, tags, earlier, parent_run_id)
        if run_id:
            write_text(folder / RUN_ID_FILE, run_id + "\n")
        if first is not None:
            first(tracker)

    if first is not None:
        tracker.postpone(start)
    else:
        with progress("opening MLflow"):
            start()
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracker.finish(status)


def store_files(tracker: Tracker, folder: Path, leave_out: Iterable[str] = ()) -> None:
    """Stores the files directly in a folder, but the one with the id of the run.

    Args:
        tracker: With the run open.
        folder: Whose files.
        leave_out: Names of others that are not stored.
    """
    passed_over = {RUN_ID_FILE, *leave_out}
    paths = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name not in passed_over]
    for path in each(paths, "storing files in MLflow", unit="file"):
        tracker.artifact(path)
