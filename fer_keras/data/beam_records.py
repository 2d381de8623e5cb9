"""Preparation on Apache Beam: the same records, made by many processes or machines.

AffectNet has a million pictures, and one process decodes and hashes them one after the other. The
direct runner spreads that over the cores of this machine; any other runner of Beam takes the same
pipeline, where the source and the cache lie on a file system that all machines see.

Records are made in chunks of 64, because each element that Beam hands on costs milliseconds.
"""

import importlib.util
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data.records import record_of
from fer_keras.data.samples import DatasetInfo, Example

_CHUNK = 64


def beam_flags(num_workers: int, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """The settings of a Beam pipeline.

    Args:
        num_workers: Processes of the direct runner, 1 or more.
        flags: Further ones in Beam's own spelling, such as `--runner=FlinkRunner`; they win.

    Returns:
        All of them, as Beam's `PipelineOptions` takes them.

    Raises:
        ConfigError: The number is out of range, or Apache Beam is not installed.
    """
    if num_workers < 1:
        raise ConfigError(f"--workers: expected 1 or more. Received: {num_workers}.")
    if importlib.util.find_spec("apache_beam") is None:
        raise ConfigError(
            "Preparing with workers needs Apache Beam. Mend: pip install 'fer_keras[beam]', or "
            "leave out --workers and --beam-flag"
        )
    # Threads would share one interpreter lock, and packing records holds it.
    mode = "multi_processing" if num_workers > 1 else "in_memory"
    return (
        "--runner=DirectRunner",
        f"--direct_num_workers={num_workers}",
        f"--direct_running_mode={mode}",
        "--default_sdk_harness_log_level=WARNING",
        *flags,
    )


def beam_config(flags: Sequence[str]) -> Any:
    """The `tfds.download.DownloadConfig` that runs a builder on Beam."""
    import apache_beam as beam
    import tensorflow_datasets as tfds

    options = beam.options.pipeline_options.PipelineOptions(list(flags))
    return tfds.download.DownloadConfig(beam_options=options)


def beam_records(info: DatasetInfo, examples: Iterable[Example], fault_folder: Path) -> Any:
    """The records of one split as a step of a Beam pipeline.

    Args:
        info: The data set's description.
        examples: Read here, in one process; pictures are named by their paths and read by the
            workers.
        fault_folder: Where workers write one file for every picture that cannot be used.

    Returns:
        A `beam.PTransform` to (position, record); TFDS sorts by the position, so the order is that
        of the source.
    """
    import apache_beam as beam

    listed = list(examples)
    # Beam spends milliseconds on every element that it hands from one stage to the next.
    chunks = [(first, listed[first : first + _CHUNK]) for first in range(0, len(listed), _CHUNK)]
    return (
        beam.Create(chunks)
        # Without a reshuffle one worker gets the whole list.
        | "Spread" >> beam.Reshuffle()
        | "Record" >> beam.FlatMap(_numbered_records, info, str(fault_folder))
    )


def collect_faults(fault_folder: Path) -> list[str]:
    """What the workers said of pictures that cannot be used, sorted."""
    return sorted(path.read_text("utf-8", "surrogateescape") for path in fault_folder.glob("*.txt"))


def _numbered_records(
    chunk: tuple[int, list[Example]], info: DatasetInfo, fault_folder: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    first, examples = chunk
    for position, example in enumerate(examples, start=first):
        try:
            yield position, record_of(info, example)
        except DataError as error:
            path = Path(fault_folder) / f"{uuid.uuid4().hex}.txt"
            path.write_text(str(error), "utf-8", "surrogateescape")
