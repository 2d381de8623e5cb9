"""Memory while a data set streams that is larger than it: resident bytes against bytes read.

The data set is one file of decoded pictures in the form that `fer_keras.data.prepared` writes: a
shard of random pictures, written again and again until the file has its size. With `--sparse` it is
written once, and the rest is a hole that the file system reads as zeros: no disk space is needed,
and the rates say nothing about a disk. Resident memory is shown in its two parts:
anonymous (what the process allocated) and file (pages of the file that are mapped at the moment;
the system can take them back at any time). The pipeline starts in the middle of the second pass, to
show that nothing before it is read.

    python benchmarks/streaming.py --gigabytes 20
    python benchmarks/streaming.py --sampling shuffle --steps 4000 --sparse
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from fer_keras.data.pipeline import steps_per_epoch, training_dataset
from fer_keras.data.samples import Samples, one_hot

_NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


def make_file(path: Path, num_images: int, side: int, shard_images: int, sparse: bool) -> None:
    """Writes the file: a shard of random pictures, repeated or followed by a hole."""
    shape = (num_images, side, side, 1)
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        start = stream.tell()
        end = start + num_images * side * side
        rng = np.random.default_rng(0)
        shard = rng.integers(0, 256, (shard_images, side, side, 1), dtype=np.uint8).tobytes()
        while stream.tell() < end and not (sparse and stream.tell() > start):
            stream.write(shard[: end - stream.tell()])
        stream.truncate(end)
        stream.flush()
        os.fsync(stream.fileno())


def memory_mb() -> dict[str, float]:
    """Resident memory of this process in MB: `anonymous` and `file`."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return {"anonymous": kib["RssAnon"] / 1e3, "file": kib["RssFile"] / 1e3}


def main() -> None:
    """Prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=48, help="of a picture in pixels")
    parser.add_argument("--batch-size", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=0, help="default: one whole pass")
    parser.add_argument("--sampling", choices=("blocks", "shuffle"), default="blocks")
    parser.add_argument("--sparse", action="store_true", help="a hole in place of the repeats")
    parser.add_argument("--folder", type=Path, help="where the file is made; default: temporary")
    arguments = parser.parse_args()

    num_images = int(arguments.gigabytes * 1e9 / arguments.side**2)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "images.npy"
        make_file(path, num_images, arguments.side, min(num_images, 100_000), arguments.sparse)
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        labels = np.arange(num_images) % len(_NAMES)
        samples = Samples(
            "made", "train", _NAMES, "hard", images, one_hot(labels, len(_NAMES)), {}, "made"
        )
        print(
            f"{num_images:,} pictures, {path.stat().st_size / 1e9:.2f} GB, on the disk "
            f"{path.stat().st_blocks * 512 / 1e9:.2f} GB, sampling {arguments.sampling}"
        )
        per_epoch = steps_per_epoch(num_images, arguments.batch_size)
        steps = arguments.steps or per_epoch
        before = memory_mb()
        began = time.perf_counter()
        dataset = training_dataset(
            samples,
            batch_size=arguments.batch_size,
            seed=0,
            first_step=per_epoch + per_epoch // 2,
            sampling=arguments.sampling,
        )
        print("| GB read | seconds | anonymous MB | file MB |\n|---|---|---|---|")
        rows = []
        for step, (batch, _) in enumerate(dataset.take(steps), start=1):
            if step == 1 or step % max(1, steps // 10) == 0:
                row = {
                    "gb_read": step * batch.shape[0] * arguments.side**2 / 1e9,
                    "seconds": time.perf_counter() - began,
                    **memory_mb(),
                }
                rows.append(row)
                print(
                    f"| {row['gb_read']:.2f} | {row['seconds']:.1f} | {row['anonymous']:.0f} | "
                    f"{row['file']:.0f} |",
                    flush=True,
                )
        rate = (rows[-1]["gb_read"] - rows[0]["gb_read"]) / (
            rows[-1]["seconds"] - rows[0]["seconds"]
        )
        print(
            f"first batch after {rows[0]['seconds']:.2f} s; then {rate * 1e3:.0f} MB/s, "
            f"{rate * 1e9 / arguments.side**2:.0f} pictures/s"
        )
        print(json.dumps({"before_mb": before, "rows": rows}))


if __name__ == "__main__":
    main()
