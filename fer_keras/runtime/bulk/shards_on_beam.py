"""Bulk prediction on Apache Beam: the same shards and files, read by the machines of a cluster.

The direct runner works on this machine; any other runner takes the same pipeline where pictures,
model and output folder lie on a file system that all machines see, under the same paths. Beam may
read a shard twice, after a fault or to be sooner: the file is renamed into place, so it is there
once.
"""

from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from fer_keras.runtime.bulk.shard_reader import ShardCounts, ShardReader
from fer_keras.runtime.bulk.shards import Shard


class ReadShard(beam.DoFn):
    """A `ShardReader` as a step of a pipeline; the model is loaded once for each worker."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader

    def setup(self) -> None:
        """Called by Beam before the first shard."""
        self._reader.setup()

    def process(self, shard: Shard) -> Iterator[ShardCounts]:
        """Read one shard."""
        yield self._reader.read(shard)


def read_shards_on_beam(
    reader: ShardReader, shards: Sequence[Shard], processes: int, flags: Sequence[str] = ()
) -> None:
    """Read shards with a Beam pipeline, and wait for its end.

    Args:
        reader: Of the plan.
        shards: To read.
        processes: Of the direct runner, at least 1.
        flags: Settings of the pipeline in Beam's own spelling, such as `--runner=FlinkRunner`; they
            win.

    Raises:
        Exception: Whatever the runner makes of a fault. Shards that are done stay.
    """
    options = PipelineOptions(
        [
            "--runner=DirectRunner",
            f"--direct_num_workers={processes}",
            f"--direct_running_mode={'multi_processing' if processes > 1 else 'in_memory'}",
            "--default_sdk_harness_log_level=WARNING",
            *flags,
        ]
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(list(shards))
            # Without a reshuffle one worker gets the whole list.
            | beam.Reshuffle()
            | beam.ParDo(ReadShard(reader))
        )
