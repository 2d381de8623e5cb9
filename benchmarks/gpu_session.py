"""All that is worth measuring and training while a GPU is at hand, in at most ten minutes.

python benchmarks/gpu_session.py --out gpu --data data                  ten minutes on a GPU
python benchmarks/gpu_session.py --out gpu --wheels .whl --data data    packages from a folder first
python benchmarks/gpu_session.py --out gpu --toy --minutes 4            the same script on a CPU

First the training throughput of twelve networks at the size of their publications, on TensorFlow
with and without XLA, JAX and PyTorch; then as much training of the three networks that no small
machine can train as fits. `table.md` and `session.jsonl` in the output folder are written anew
after every figure, so that an end at any moment loses nothing. A run that was cut off goes on with
`--out` of the same folder, or anywhere: `python -m fer_keras.train --run-dir FOLDER --resume`.
Nothing is fetched: packages are installed or lie as wheels in a folder, data sets in another.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Name -> shape of a picture, classes, options of the network, batch, method: as published.
NETWORKS: dict[str, tuple[tuple[int, ...], int, dict[str, Any], int, str]] = {
    "compact": ((48, 48, 1), 8, {}, 256, "cross_entropy"),
    "mini_xception": ((64, 64, 1), 7, {}, 256, "cross_entropy"),
    "vgg13": ((64, 64, 1), 8, {}, 128, "cross_entropy"),
    "resnet18": ((44, 44, 3), 7, {}, 128, "cross_entropy"),
    "vgg19": ((44, 44, 3), 7, {}, 128, "cross_entropy"),
    "face_resnet": ((150, 150, 3), 8, {}, 128, "cross_entropy"),
    "emotion_encoder": ((224, 224, 3), 8, {}, 64, "cross_entropy"),
    "vit_se": ((224, 224, 3), 8, {}, 32, "cross_entropy"),
    "ddamfn": ((112, 112, 3), 8, {"num_heads": 2}, 256, "cross_entropy"),
    "esr": ((96, 96, 3), 8, {"num_branches": 9}, 64, "branch_ensemble"),
    "manet": ((224, 224, 3), 8, {}, 64, "cross_entropy"),
    "clip_r2plus1d": ((16, 112, 112, 3), 8, {}, 8, "clip_cross_entropy"),
}
# Name -> backend and whether XLA compiles.
VARIANTS = {
    "jax": ("jax", True),
    "tensorflow, XLA": ("tensorflow", True),
    "tensorflow": ("tensorflow", False),
    "torch": ("torch", False),
}
# In the order of their worth; each gets an equal share of the time that is left.
TRAININGS: dict[str, list[str]] = {
    "ferplus_teacher": [],
    "ferplus_ddamfn": ["training.precision=mixed_bfloat16"],
    "ferplus_esr": ["training.precision=mixed_bfloat16"],
}
_TOY = ["dataset.limit=256", "training.batch_size=32", "training.epochs=1"]
# Of the whole time, for the table of throughput; the rest is training.
_SHARE_OF_THROUGHPUT = 0.45
_MEASURED_S = 2.0
# For one network on one variant, with its compilation; and how many may take longer in one row.
_NETWORK_S = 90.0
_MOST_LATE = 2
# A training that is told to stop saves its state first.
_STOP_S = 20.0


class Session:
    """The output folder: rows as they come, the table, and the clock.

    Args:
        folder: Made if missing; rows of an earlier session in it are kept.
        minutes: How long the session may last.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder = folder
        self.start = time.monotonic()
        self.limit_s = 60 * minutes
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = folder / "session.jsonl"

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.limit_s - (time.monotonic() - self.start)

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        if not self._rows.exists():
            return []
        return [json.loads(line) for line in self._rows.read_text(encoding="utf-8").splitlines()]

    def add(self, row: dict[str, Any]) -> None:
        """Writes a row and the table.

        Args:
            row: `kind` (`machine`, `throughput`, `training`) and its figures.
        """
        with self._rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        temporary = self.folder / "table.md.part"
        temporary.write_text("\n".join(table(self.rows())) + "\n", encoding="utf-8")
        temporary.replace(self.folder / "table.md")
        print(f"{self.limit_s - self.left_s():5.0f} s  {json.dumps(row)}", flush=True)


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of `table.md`.

    Args:
        rows: Of `Session.add`; the last of equal ones counts.
    """
    for row in rows:
        if row["kind"] == "machine":
            yield f"{row['device']}; {row['versions']}; commit {row['commit']}"
            yield ""
    found = {(row["network"], row["variant"]): row for row in rows if row["kind"] == "throughput"}
    yield f"| images/s in training (first step, s) | pixels | batch | {' | '.join(VARIANTS)} |"
    yield "|---|---|---|" + "---|" * len(VARIANTS)
    for network in dict.fromkeys(name for name, _ in found):
        cells = []
        for variant in VARIANTS:
            row = found.get((network, variant), {})
            if "images_per_second" in row:
                cells.append(f"{row['images_per_second']:.0f} ({row['first_step_s']:.0f})")
            else:
                cells.append(row.get("failed", ""))
        shape, _, _, batch, _ = NETWORKS[network]
        sizes = "x".join(str(each) for each in shape)
        yield f"| `{network}` | {sizes} | {batch} | {' | '.join(cells)} |"
    trained = {row["experiment"]: row for row in rows if row["kind"] == "training"}
    if trained:
        yield ""
        yield "| training | epochs | validation accuracy | balanced | n | minutes | state |"
        yield "|---|---|---|---|---|---|---|"
    for name, row in trained.items():
        scores = [f"{row[k]:.4f}" if k in row else "" for k in ("accuracy", "balanced_accuracy")]
        yield (
            f"| `{name}` | {row['epochs']} of {row['of']} | {' | '.join(scores)} | "
            f"{row.get('n', '')} | {row['minutes']:.1f} | {row['state']} |"
        )


def measure_throughput(session: Session, toy: bool) -> None:
    """Twelve networks, four variants, each in a process of its own.

    Args:
        session: Gets a row for each; what an earlier session measured is not measured again.
        toy: Small pictures and batches.
    """
    until = session.left_s() * (1 - _SHARE_OF_THROUGHPUT)
    known = {
        (row["network"], row["variant"])
        for row in session.rows()
        if row["kind"] == "throughput" and "images_per_second" in row
    }
    # Every network on one backend before any on the next: an early end leaves whole columns.
    for variant, (backend, _) in VARIANTS.items():
        late = 0
        for network in NETWORKS:
            time_left = session.left_s() - until
            # Who is too slow here must leave time for the others.
            if (network, variant) in known or time_left < 5 or late == _MOST_LATE:
                continue
            row = {"kind": "throughput", "network": network, "variant": variant}
            # No single compilation may eat the table.
            limit = min(time_left, _NETWORK_S)
            command = [sys.executable, __file__, "--worker", network, variant]
            try:
                done = subprocess.run(
                    [*command, *(["--toy"] if toy else [])],
                    env={**os.environ, "KERAS_BACKEND": backend},
                    capture_output=True,
                    text=True,
                    timeout=limit,
                )
            except subprocess.TimeoutExpired:
                late += 1
                session.add({**row, "failed": f"not done in {limit:.0f} s"})
                continue
            answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
            if done.returncode or not answers:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
                session.add({**row, "failed": reason[:120].replace("|", "/")})
            else:
                late = 0
                session.add({**row, **json.loads(answers[-1])})


def work(network_name: str, variant: str, toy: bool) -> dict[str, float]:
    """Trains one network for two seconds after the first steps.

    Args:
        network_name: A key of `NETWORKS`.
        variant: A key of `VARIANTS`.
        toy: Small pictures and batches.

    Returns:
        `images_per_second`, `first_step_s` and `parameters`.
    """
    import keras
    import numpy as np

    from fer_keras.methods import build_method
    from fer_keras.models import build_network
    from fer_keras.training.device import accelerator

    shape, classes, options, batch, method_name = NETWORKS[network_name]
    if toy:
        shape, batch = (*shape[:-3], min(shape[-2], 64), min(shape[-2], 64), shape[-1]), 2
    keras.config.set_dtype_policy("float32" if accelerator() == "CPU" else "mixed_bfloat16")
    network = build_network(network_name, shape, classes, **options)
    method = build_method(method_name, network, [f"class {i}" for i in range(classes)])
    method.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=VARIANTS[variant][1]
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *shape), dtype=np.uint8)
    targets = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, batch)]

    def train(steps: int) -> float:
        many = np.concatenate([images] * steps), np.concatenate([targets] * steps)
        start = time.perf_counter()
        method.fit(*many, batch_size=batch, shuffle=False, verbose=0)
        return time.perf_counter() - start

    first = train(1)
    seconds = train(2) / 2
    steps = max(1, min(int(_MEASURED_S / seconds), 50))
    return {
        "images_per_second": round(batch * steps / train(steps), 1),
        "first_step_s": round(first, 1),
        "parameters": sum(int(np.prod(v.shape)) for v in method.trainable_variables),
    }


def train(session: Session, toy: bool) -> None:
    """Trains as much as fits, one network after the other; what is cut off can go on.

    Args:
        session: Its folder gets the run folders.
        toy: A few pictures and one epoch.
    """
    names = list(TRAININGS)
    for index, name in enumerate(names):
        share = (session.left_s() - _STOP_S) / (len(names) - index)
        if share < _STOP_S:
            return
        run_dir = session.folder / name
        if (run_dir / "result.json").exists():
            continue
        command = [sys.executable, "-m", "fer_keras.train", "--no-mlflow", "--run-dir", run_dir]
        if (run_dir / "experiment.json").exists():
            command.append("--resume")
        else:
            settings = [*TRAININGS[name], *(_TOY if toy else [])]
            command += ["--exp", name, *(word for each in settings for word in ("--set", each))]
            command += [] if toy else ["--require-data"]
        backend = "tensorflow" if toy else "jax"
        start = time.monotonic()
        with (session.folder / f"{name}.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*map(str, command), "--backend", backend], stdout=log, stderr=subprocess.STDOUT
            )
            try:
                code = process.wait(timeout=share)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                try:
                    code = process.wait(timeout=_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    code = process.wait()
        session.add(_training_row(name, run_dir, code, (time.monotonic() - start) / 60))


def _training_row(name: str, run_dir: Path, code: int, minutes: float) -> dict[str, Any]:
    row = {"kind": "training", "experiment": name, "epochs": 0, "of": 0, "minutes": minutes}
    experiment = run_dir / "experiment.json"
    if experiment.exists():
        row["of"] = json.loads(experiment.read_text(encoding="utf-8"))["training"]["epochs"]
    metrics = run_dir / "metrics.jsonl"
    epochs = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    if epochs:
        best = max((json.loads(line) for line in epochs), key=lambda each: each["val_accuracy"])
        row |= {"epochs": len(epochs), "accuracy": best["val_accuracy"]}
    result = run_dir / "result.json"
    if result.exists():
        figures = json.loads(result.read_text(encoding="utf-8"))
        row |= {key: figures[key] for key in ("accuracy", "balanced_accuracy", "n")}
    states = {
        0: "finished",
        130: "cut off; --resume goes on",
        # The command takes the signal over once it trains.
        -signal.SIGTERM: "cut off before its first step",
        -signal.SIGKILL: "killed; --resume goes on from the last checkpoint",
    }
    return {**row, "state": states.get(code, f"ended with code {code}, see {name}.log")}


def machine_row() -> dict[str, Any]:
    """What the session ran on."""
    from importlib.metadata import PackageNotFoundError, version

    from fer_keras.runtime.timing.machine import machine_name
    from fer_keras.tracking.tracker import git_commit

    versions = []
    for package in ("keras", "tensorflow", "jax", "torch"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        device = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        device = f"no GPU, {machine_name()}"
    return {
        "kind": "machine",
        "device": device,
        "versions": ", ".join(versions),
        "commit": git_commit(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the session."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder of the table, the logs and the runs")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--data", type=Path, help="folder of the data sets (FER_KERAS_DATA)")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that are installed first")
    parser.add_argument("--parts", nargs="+", default=["throughput", "training"])
    parser.add_argument("--toy", action="store_true", help="small enough for a CPU")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    # The repository lies beside this script; it need not be installed.
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    sys.path.insert(0, root)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if arguments.worker:
        network, variant = arguments.worker
        print(json.dumps(work(network, variant, arguments.toy)))
        return
    if arguments.out is None:
        parser.error("expected --out FOLDER")
    if arguments.data:
        os.environ["FER_KERAS_DATA"] = str(arguments.data.resolve())
    session = Session(arguments.out, arguments.minutes)
    if arguments.wheels:
        site = (arguments.out / "site").resolve()
        wheels = [str(path) for path in sorted(arguments.wheels.glob("*.whl"))]
        install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([sys.executable, *install, "--target", str(site), *wheels], check=True)
        os.environ["PYTHONPATH"] += os.pathsep + str(site)
        sys.path.append(str(site))
    session.add(machine_row())
    if "throughput" in arguments.parts:
        measure_throughput(session, arguments.toy)
    if "training" in arguments.parts:
        train(session, arguments.toy)
    print((session.folder / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
