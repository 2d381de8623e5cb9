"""What `/metrics` tells, over all worker processes: counts and times, nothing about a picture."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# The folder in which the processes share their counts; prometheus_client reads it at its import.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CROPS = (1, 2, 4, 8, 16, 32, 64)


class Figures:
    """The counters of one process.

    Attributes:
        requests: By route and status; a stream counts when it ends.
        seconds: From the head of a request to its answer, by route.
        under_way: Requests and streams at this moment.
        faces: Faces in answers.
        batch_crops: Crops in each run of a network.
        frames: Of streams, by what became of them: read, refused, dropped.
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.requests = Counter(
            "fer_keras_requests", "Requests answered", ["route", "status"], registry=own
        )
        self.seconds = Histogram(
            "fer_keras_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=own
        )
        self.under_way = Gauge(
            "fer_keras_requests_under_way",
            "Requests and streams at this moment",
            multiprocess_mode="livesum",
            registry=own,
        )
        self.faces = Counter("fer_keras_faces", "Faces in answers", registry=own)
        self.batch_crops = Histogram(
            "fer_keras_batch_crops", "Crops in one run of a network", buckets=_CROPS, registry=own
        )
        self.frames = Counter(
            "fer_keras_stream_frames", "Frames of streams", ["outcome"], registry=own
        )

    def text(self) -> bytes:
        """The figures as Prometheus reads them."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            return generate_latest(self._registry)
        _forget_dead_processes(Path(folder))
        shared = CollectorRegistry()
        MultiProcessCollector(shared, folder)  # type: ignore[no-untyped-call]
        return generate_latest(shared)


def _forget_dead_processes(folder: Path) -> None:
    """A worker that was killed is answering nothing any more."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
