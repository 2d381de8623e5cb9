"""Times several models in turns, each in a process of its own.

Turns, because whatever else the machine does then hits all models alike; so ratios hold where
milliseconds do not.

A process of its own, because memory is then the model's, and a damaged file ends nothing else.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from tqdm import tqdm

from fer_keras.common.errors import DataError, ModelFileError
from fer_keras.runtime.engines import ENGINES, EngineName, is_installed
from fer_keras.runtime.export_files import read_model_files
from fer_keras.runtime.shipped import default_model
from fer_keras.runtime.timing.timing import is_bare

PRECISIONS = ("float32", "float16", "dynamic", "int8")
ROUNDS = 10
_ROUND_LIMIT_S = 1.0


@dataclass(frozen=True)
class Choice:
    """One file to time.

    Attributes:
        name: For the table; each differs.
        path: Export folder or `.tflite` file.
        precision: Which file of the folder; None for a path to a file.
        engine: What runs it.
    """

    name: str
    path: Path
    precision: str | None
    engine: EngineName = "litert"


@dataclass
class Timings:
    """What was measured of one model.

    Attributes:
        facts: What its process said when it was loaded, and `ready_ms`.
        by_threads: Thread count -> the milliseconds of each round.
        by_batch: Faces of a run -> milliseconds a face of each round, on the first thread count.
        stages: Stage -> milliseconds; empty for another project's model.
        full_peak_mib: Memory after the stages; None without them.
    """

    facts: dict[str, Any]
    by_threads: dict[int, list[list[float]]] = field(default_factory=dict)
    stages: dict[str, list[float]] = field(default_factory=dict)
    by_batch: dict[int, list[list[float]]] = field(default_factory=dict)
    full_peak_mib: float | None = None


def find_choices(paths: Sequence[Path], precision: str | None = None) -> list[Choice]:
    """The files behind the paths of the command line.

    Args:
        paths: Export folders and `.tflite` files; none for the shipped model.
        precision: Which file of the folders; None takes all.

    Returns:
        One choice per file, in the order given. With all precisions of a folder come its files for
        other engines, where these are installed.

    Raises:
        ModelFileError: A path is neither, or a folder has no such precision.
    """
    found: list[Choice] = []
    for path in paths or [default_model()]:
        if is_bare(path):
            found.append(Choice(path.stem, path, None))
            continue
        files = read_model_files(path, precision)
        name = str(files.manifest.get("name", path.stem))
        if path.is_file():
            found.append(Choice(f"{name} {path.stem.removeprefix('model_')}", path, None))
            continue
        there = files.manifest["precision_files"]
        wanted = [precision] if precision else [known for known in PRECISIONS if known in there]
        found += [Choice(f"{name} {known}", path, known) for known in wanted]
        if precision is None:
            found += [
                Choice(f"{name} {engine}", path, None, engine)
                for engine in ENGINES
                if engine in files.manifest.get("engine_files", {}) and is_installed(engine)
            ]
    return [_distinct(choice, found) for choice in dict.fromkeys(found)]


def _distinct(choice: Choice, among: Sequence[Choice]) -> Choice:
    """The choice, named by its path where another one has the same name."""
    if all(other == choice or other.name != choice.name for other in among):
        return choice
    return replace(choice, name=f"{choice.path} {choice.precision or choice.engine}")


def measure(
    choices: Sequence[Choice],
    *,
    threads: Sequence[int],
    calls: int,
    detector: str = "mtcnn",
    picture: Path | None = None,
    batches: Sequence[int] = (),
) -> list[Timings]:
    """Time models in turns.

    Args:
        choices: Of `find_choices`.
        threads: Thread counts of LiteRT.
        calls: Runs per model and thread count, spread over the rounds; a slow model may do fewer.
        detector: Finds the face whose stages are timed.
        picture: The picture with the face; None for the drawn scene.
        batches: Faces of a run, to time besides single ones.

    Returns:
        One for each choice.

    Raises:
        FerKerasError: A model or the picture cannot be used.
    """
    request: dict[str, Any] = {"calls": -(-calls // ROUNDS), "limit_s": _ROUND_LIMIT_S}
    turns = len(choices) * (1 + ROUNDS * (len(threads) + len(batches) + 1))
    with (
        contextlib.ExitStack() as stack,
        tqdm(total=turns, unit="turn", file=sys.stderr, disable=not sys.stderr.isatty()) as bar,
    ):
        workers: list[_Worker] = []
        timings: list[Timings] = []
        for choice in choices:
            messages = stack.enter_context(tempfile.TemporaryFile())
            workers.append(stack.enter_context(_Worker(choice, picture, messages)))
            timings.append(Timings(workers[-1].facts))
            bar.update()
        both = list(zip(workers, timings, strict=True))
        for _ in range(ROUNDS):
            for count in threads:
                for worker, timing in both:
                    taken = worker.ask(ask="invoke", threads=count, **request)["ms"]
                    timing.by_threads.setdefault(count, []).append(taken)
                    bar.update()
            for batch in batches:
                runs = {**request, "calls": -(-request["calls"] // batch), "batch": batch}
                for worker, timing in both:
                    taken = worker.ask(ask="invoke", threads=threads[0], **runs)["ms"]
                    timing.by_batch.setdefault(batch, []).append(taken)
                    bar.update()
            for worker, timing in both:
                if timing.facts["is_export"]:
                    stages = {"detector": detector, "threads": threads[0], **request}
                    reply = worker.ask(ask="stages", **stages)["ms"]
                    for stage, taken in reply.items():
                        timing.stages.setdefault(stage, []).extend(taken)
                bar.update()
        for worker, timing in both:
            if timing.stages:
                timing.full_peak_mib = worker.ask(ask="memory")["peak_mib"]
    return timings


class _Worker:
    """A process with one model in it; see `fer_keras.runtime.timing.timing.serve`."""

    def __init__(self, choice: Choice, picture: Path | None, messages: IO[bytes]) -> None:
        self._choice = choice
        self._messages = messages
        spec = {
            "model": str(choice.path),
            "precision": choice.precision,
            "engine": choice.engine,
            "picture": None if picture is None else str(picture),
        }
        command = [sys.executable, "-m", "fer_keras.runtime.timing.timing", json.dumps(spec)]
        start = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            encoding="utf-8",
        )
        try:
            self.facts = {**self._answer(), "ready_ms": 1000 * (time.perf_counter() - start)}
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its reply."""
        stream = cast(Any, self._process.stdin)
        # A process that has ended says why in its last reply, or in its exit code.
        with contextlib.suppress(BrokenPipeError):
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = cast(Any, self._process.stdout).readline()
        if not line:
            code = self._process.wait()
            self._messages.seek(0)
            last = self._messages.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ModelFileError(
                f"the process that ran the model ended with {code}{': ' if last else ''}"
                f"{''.join(last)}. The file may be damaged: {self._choice.path}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise DataError(reply["error"])
        return reply

    def _stop(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
