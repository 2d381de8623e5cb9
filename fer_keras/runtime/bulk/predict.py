"""Predictions for pictures by the million: what `predict --output-dir` does.

The pictures are divided into shards, each of which becomes one Parquet file; the same command goes
on after an interruption. See docs/bulk.md.

Pictures are listed once, so that a shard means the same pictures whenever and wherever it is read.
A part has its name only when it is whole, and its footer holds model, detector and counts: a run
resumes from the files alone.
"""

import argparse
import fcntl
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from fer_keras.common.arguments import positive, words
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.prior import parse_prior

if TYPE_CHECKING:
    from fer_keras.runtime.bulk.shard_reader import ShardCounts, ShardReader
    from fer_keras.runtime.bulk.shards import Plan, Shard

# How often a line of progress is written, to a terminal and to a file.
_TERMINAL_S, _FILE_S = 1.0, 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of bulk prediction to those of `predict`."""
    bulk = parser.add_argument_group("many pictures")
    bulk.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="write Parquet files into this folder, one for each shard; the same command goes on "
        "after an interruption",
    )
    bulk.add_argument(
        "--list", type=Path, metavar="FILE", help="read the pictures that FILE names, one a line"
    )
    bulk.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="processes, each with --threads threads; the number of cores is best (default: 1)",
    )
    bulk.add_argument(
        "--shard-size",
        type=positive,
        default=1000,
        metavar="N",
        help="pictures in a shard: what an interruption costs each process (default: 1000)",
    )
    bulk.add_argument(
        "--beam-flag",
        action="append",
        default=[],
        metavar="FLAG",
        help="read with Apache Beam; a flag of its own: --beam-flag=--runner=FlinkRunner",
    )


def predict_in_bulk(arguments: argparse.Namespace) -> "tuple[ShardCounts, Plan]":
    """Read all shards that are not done yet.

    Args:
        arguments: Of `predict`, with those of `add_arguments`.

    Returns:
        What became of all pictures, earlier runs' too; and the plan that they were read by.

    Raises:
        FerKerasError: Nothing could be done, or the work could not go on; shards that are done
            stay.
    """
    # Imported only now, so that --help is answered at once.
    from fer_keras.runtime.bulk.shard_reader import (
        ReadSettings,
        ShardCounts,
        ShardReader,
        check_pyarrow,
        finished_shards,
        remove_leftovers,
    )
    from fer_keras.runtime.bulk.shards import Listing, open_plan

    check_pyarrow()
    if arguments.beam_flag and importlib.util.find_spec("apache_beam") is None:
        raise ConfigError(
            "--beam-flag needs Apache Beam. Install it with: pip install 'fer_keras[beam]', or use "
            "--processes"
        )
    folder: Path = arguments.output_dir
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output-dir: expected a folder, received a file: {folder}")
    listing = Listing(arguments.paths, arguments.list)
    settings = ReadSettings(
        arguments.model,
        arguments.precision,
        arguments.detector,
        arguments.threads,
        None if arguments.prior is None else str(parse_prior(arguments.prior)),
        tuple(words(arguments.labels)),
        arguments.min_face,
        arguments.min_quality,
        arguments.engine,
        arguments.device,
        arguments.min_score,
    )
    facts = settings.facts()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        plan = open_plan(folder, listing, facts, arguments.shard_size)
        finished = finished_shards(plan)
        remove_leftovers(plan)
        open_shards = [shard for shard in plan.shards if shard not in finished]
        if finished and open_shards:
            _say(f"going on: {len(finished):,} of {len(plan.shards):,} shards are done")
        reader = ShardReader(plan, settings)
        if open_shards:
            # A model or detector that cannot be used is told here, before there are processes.
            reader.setup()
            _read(plan, reader, open_shards, arguments.processes, arguments.beam_flag)
            finished = finished_shards(plan)
            if len(finished) < len(plan.shards):
                raise DataError(
                    f"{len(plan.shards) - len(finished)} shards were read and are not there. Do "
                    f"all machines see this folder under this path: {folder}"
                )
    return sum(finished.values(), ShardCounts()), plan


def _read(
    plan: "Plan",
    reader: "ShardReader",
    shards: "Sequence[Shard]",
    processes: int,
    beam_flags: Sequence[str],
) -> None:
    try:
        if beam_flags:
            from fer_keras.runtime.bulk.shards_on_beam import read_shards_on_beam

            read_shards_on_beam(reader, shards, processes, beam_flags)
        else:
            from fer_keras.runtime.bulk.shard_reader import read_shards

            progress = Progress(plan.num_pictures, sum(shard.num_pictures for shard in shards))
            with _stopped_in_good_order():
                read_shards(reader, shards, processes, progress.add)
    except BaseException:
        from fer_keras.runtime.bulk.shard_reader import finished_shards

        _say(
            f"stopped with {len(finished_shards(plan)):,} of {len(plan.shards):,} shards done; the "
            f"same command goes on with the others: {plan.folder}"
        )
        raise


class Progress:
    """Lines like "12,000 of 48,000 pictures (25 %), 61.0 pictures/s, 09:50 left" on stderr.

    Args:
        total: Pictures in all.
        remaining: Of them, those that are not read yet.
    """

    def __init__(self, total: int, remaining: int) -> None:
        self._total = total
        self._remaining = self._at_start = remaining
        self._started_s = time.monotonic()
        self._written_s = -_FILE_S
        self._terminal = sys.stderr.isatty()

    def add(self, counts: "ShardCounts") -> None:
        """Note a shard, and write a line where it is time for one."""
        self._remaining -= counts.pictures + counts.unreadable
        now = time.monotonic()
        wait_s = _TERMINAL_S if self._terminal else _FILE_S
        if self._remaining and now - self._written_s < wait_s:
            return
        self._written_s = now
        done = self._total - self._remaining
        rate = (self._at_start - self._remaining) / max(now - self._started_s, 1e-9)
        line = (
            f"{done:,} of {self._total:,} pictures ({done / self._total:.0%}), {rate:.1f} "
            f"pictures/s, {tqdm.format_interval(self._remaining / rate)} left"
        )
        # A terminal's line is written over by the next one.
        end = "\r" if self._terminal and self._remaining else "\n"
        _say(f"\033[K{line}" if self._terminal else line, end)


@contextmanager
def _stopped_in_good_order() -> Iterator[None]:
    """Take the signal with which Slurm and Kubernetes end a job for a Ctrl-C."""
    # Python hands signals to the main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder for this run alone; the lock ends with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"--output-dir: another run is at work in this folder. Wait for it: {folder}"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _say(line: str, end: str = "\n") -> None:
    tqdm.write(line, file=sys.stderr, end=end)
    sys.stderr.flush()
