"""Reads shards of pictures into Parquet files, in this process or in one for each core.

A shard's file is written under a temporary name and renamed when it is complete: what has its name
is whole, and whatever a kill, a full disk or a lost machine cost is read again by the same command.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from fer_keras.common.errors import ConfigError, DataError, FerKerasError, ModelFileError
from fer_keras.common.files import atomic_path
from fer_keras.common.opencv import cv2
from fer_keras.common.prior import read_default_prior
from fer_keras.runtime.bulk.shards import Plan, Shard
from fer_keras.runtime.clips import single_pictures_refused
from fer_keras.runtime.engines import EngineName
from fer_keras.runtime.export_files import read_model_files
from fer_keras.runtime.recognizer import Precision, Recognizer
from fer_keras.runtime.shipped import default_model
from fer_keras.runtime.stream.rows import FACE_COLUMNS, LOOK_COLUMNS, PATH_COLUMNS, printable
from fer_keras.runtime.table import face_fields

# Also how many rows are in memory at a time, whatever the size of a shard.
_ROWS_AT_ONCE = 1024
_METADATA = b"fer_keras"


@dataclass(frozen=True)
class ShardCounts:
    """What became of the pictures of a shard, or of several."""

    pictures: int = 0
    faces: int = 0
    without_face: int = 0
    unreadable: int = 0

    def __add__(self, other: "ShardCounts") -> "ShardCounts":
        """The sum, entry by entry."""
        added = {key: value + getattr(other, key) for key, value in asdict(self).items()}
        return ShardCounts(**added)


@dataclass(frozen=True)
class ReadSettings:
    """How pictures are read; goes to every process and machine.

    Attributes:
        model: As `Recognizer` takes it; None for the shipped one.
        precision: Which of the export folder's files.
        detector: By its name.
        threads: Of each process, at least 1.
        prior: As `Recognizer` takes it; None is the model's default.
        labels: Keep only these; empty for all.
        min_face: As `Recognizer` takes it.
        min_quality: As `Recognizer` takes it.
        engine: As `Recognizer` takes it.
        device: As `Recognizer` takes it.
        min_score: As `Recognizer` takes it.
    """

    model: str | None = None
    precision: Precision | None = None
    detector: str = "mtcnn"
    threads: int = 1
    prior: str | None = None
    labels: tuple[str, ...] = ()
    min_face: int | None = None
    min_quality: float = 0.0
    engine: EngineName = "litert"
    device: str = "cpu"
    min_score: float = 0.0

    def facts(self) -> dict[str, Any]:
        """What rows depend on, for the plan: the model's content and labels, and the detector.

        Raises:
            ModelFileError: The model is missing or damaged.
            ConfigError: It reads clips.
        """
        files = read_model_files(self.model or default_model(), self.precision, self.engine)
        if files.clip_frames:
            raise single_pictures_refused(files.clip_frames)
        prior = self.prior or str(read_default_prior(files.manifest, files.path))
        return {
            "model_sha256": hashlib.sha256(files.content + files.weights).hexdigest(),
            "class_names": list(files.class_names),
            "detector": self.detector,
            # Parts of earlier versions have fewer columns; one folder holds one kind.
            "columns": list(LOOK_COLUMNS),
            # Only where it changes answers, so that runs of earlier versions go on.
            **({"prior": prior} if prior != "training" else {}),
            **({"labels": list(self.labels)} if self.labels else {}),
            **({} if self.min_face is None else {"min_face": self.min_face}),
            **({"min_quality": self.min_quality} if self.min_quality else {}),
            **({"min_score": self.min_score} if self.min_score else {}),
            # Left out for our own models, so that runs of earlier versions go on.
            **({} if files.card is None else {"card": repr(files.card)}),
        }


class ShardReader:
    """Reads the pictures of a shard and writes its file. Built anywhere, set up where it works.

    Args:
        plan: The output folder and what its rows depend on.
        settings: How to read.
    """

    def __init__(self, plan: Plan, settings: ReadSettings) -> None:
        self._plan = plan
        self._settings = settings
        self._recognizer: Recognizer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """An interpreter cannot travel to another process; `setup` makes a new one there."""
        return {**self.__dict__, "_recognizer": None}

    def setup(self) -> None:
        """Load the model and the detector.

        Raises:
            ModelFileError: The model cannot be used, or is another one than that of the plan.
            ConfigError: The detector cannot be used.
        """
        settings = self._settings
        if any(self._plan.facts.get(key) != value for key, value in settings.facts().items()):
            raise ModelFileError(
                "the model is not the one that the run began with. Put it back, or choose another "
                f"--output-dir: {settings.model or default_model()}"
            )
        cv2.setNumThreads(settings.threads)
        self._recognizer = Recognizer(
            settings.model,
            settings.detector,
            settings.threads,
            settings.precision,
            settings.prior,
            settings.labels,
            settings.min_face,
            settings.min_quality,
            settings.engine,
            settings.device,
            settings.min_score,
        )

    def read(self, shard: Shard) -> ShardCounts:
        """Read the pictures of a shard; its file is there, and complete, when this returns.

        Args:
            shard: Of the plan.

        Returns:
            What became of its pictures. One that cannot be read is a row with an error.

        Raises:
            ModelFileError: The model fails.
            OSError: No space, no permission; nothing is left of the shard.
        """
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet

        if self._recognizer is None:
            self.setup()
        schema = _schema(self._plan.facts["class_names"])
        counts = asdict(ShardCounts())
        rows = self._rows(cast(Recognizer, self._recognizer), shard, counts)
        with (
            atomic_path(self._plan.folder / shard.file_name) as temporary,
            # Readers that ask for it then notice a flipped bit.
            parquet.ParquetWriter(
                temporary, schema, compression="zstd", write_page_checksum=True
            ) as writer,
        ):
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))
            facts = {**self._plan.facts, "shard": shard.number, "counts": counts}
            writer.add_key_value_metadata({_METADATA.decode(): json.dumps(facts)})
        return ShardCounts(**counts)

    def _rows(
        self, recognizer: Recognizer, shard: Shard, counts: dict[str, int]
    ) -> Iterator[dict[str, Any]]:
        """A row for every face, and one without a face for a picture that has none."""
        # Among millions of files there are some that a check lets pass and OpenCV does not.
        answers = recognizer.recognize_each(self._plan.pictures(shard), (DataError, cv2.error))
        for path, faces in answers:
            shown = printable(path)
            if isinstance(faces, Exception):
                counts["unreadable"] += 1
                yield {"path": shown, "error": " ".join(str(faces).split())}
                continue
            counts["pictures"] += 1
            counts["faces"] += len(faces)
            counts["without_face"] += not faces
            for number, face in enumerate(faces):
                yield {"path": shown, "face": number, **face_fields(face)}
            if not faces:
                yield {"path": shown}


def finished_shards(plan: Plan) -> dict[Shard, ShardCounts]:
    """The shards whose files are there and whole, as far as their last bytes tell.

    Args:
        plan: Of the output folder.

    Returns:
        What became of the pictures of each. A file that is damaged, or of another plan, counts as
        not there: its shard is to be read again.
    """
    finished = {}
    present = set(os.listdir(plan.folder))
    for shard in plan.shards:
        if shard.file_name in present:
            counts = _counts_in(plan.folder / shard.file_name, plan.facts)
            if counts is not None and counts.pictures + counts.unreadable == shard.num_pictures:
                finished[shard] = counts
    return finished


def remove_leftovers(plan: Plan) -> None:
    """Delete the temporary files that killed runs left; no other run may be at work."""
    for path in plan.folder.glob(".part-*.tmp.parquet"):
        path.unlink(missing_ok=True)


def read_shards(
    reader: ShardReader,
    shards: Sequence[Shard],
    processes: int,
    on_done: Callable[[ShardCounts], None],
) -> None:
    """Read shards, each in whichever process is free.

    Args:
        reader: Of the plan.
        shards: To read.
        processes: How many, at least 1; with 1 it is this one.
        on_done: Called here after each shard.

    Raises:
        FerKerasError: What a process could not go on with, or that one was killed. Shards that
            are done stay; the others leave nothing. The same holds when `on_done` raises, and for
            Ctrl-C.
    """
    if processes == 1:
        for shard in shards:
            on_done(reader.read(shard))
        return
    # A forked process would inherit OpenCV's and LiteRT's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    next_index = context.Value("q", 0)
    workers = {}
    try:
        for _ in range(min(processes, len(shards))):
            results, sender = context.Pipe(duplex=False)
            # Not a daemon, which would be killed without tidying up.
            worker = context.Process(target=_work, args=(reader, shards, next_index, sender))
            worker.start()
            # With the last sender closed, a dead worker shows as the end of its results.
            sender.close()
            workers[results] = worker
        _collect(workers, on_done)
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join()


def _collect(workers: Mapping[Any, Any], on_done: Callable[[ShardCounts], None]) -> None:
    """Hear from processes, by their ends of the pipes, until all have ended."""
    at_work = dict(workers)
    while at_work:
        for results in wait(list(at_work)):
            try:
                result = cast(Connection, results).recv()
            except EOFError:
                worker = at_work.pop(results)
                worker.join()
                if worker.exitcode:
                    raise FerKerasError(
                        f"a process ended with code {worker.exitcode} (-9: killed, mostly for want "
                        "of memory). Run the same command again, with fewer --processes if need be"
                    ) from None
                continue
            if isinstance(result, Exception):
                raise result
            on_done(result)


def _work(reader: ShardReader, shards: Sequence[Shard], next_index: Any, results: Any) -> None:
    """What a process does: take the next shard until there is none."""
    # Ctrl-C reaches all processes; the first one decides, and ends the others in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        reader.setup()
        while True:
            with next_index.get_lock():
                index = next_index.value
                next_index.value += 1
            if index >= len(shards):
                return
            results.send(reader.read(shards[index]))
    except BrokenPipeError:
        # The first process is gone.
        return
    except (FerKerasError, OSError) as error:
        results.send(error)


def _schema(class_names: Sequence[str]) -> Any:
    """The columns of `predict`'s CSV, with what could not be read at the end."""
    import pyarrow

    types = {"face": pyarrow.int32(), "unsure": pyarrow.bool_()}
    types |= dict.fromkeys(("x", "y", "width", "height", "score", *LOOK_COLUMNS), pyarrow.float64())
    types |= dict.fromkeys(class_names, pyarrow.float32())
    columns = [*PATH_COLUMNS, *FACE_COLUMNS, *class_names, *LOOK_COLUMNS, "error"]
    return pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in columns])


def _counts_in(path: Path, facts: Mapping[str, Any]) -> ShardCounts | None:
    import pyarrow
    from pyarrow import parquet

    try:
        content = json.loads(parquet.read_metadata(path).metadata[_METADATA])
        counts = ShardCounts(**content["counts"])
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError):
        return None
    return counts if all(content.get(key) == value for key, value in facts.items()) else None


def check_pyarrow() -> None:
    """Say in time that Parquet cannot be written.

    Raises:
        ConfigError: pyarrow is not installed; the base install does without it.
    """
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--output-dir writes Parquet, which needs pyarrow. Install it with: pip install "
            "'fer_keras[bulk]', or write one CSV with --output"
        ) from error
