"""Bulk prediction that is stopped from outside: nothing is lost, and nothing goes on alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_keras.runtime.pictures import Pixels

cv2 = pytest.importorskip("cv2")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

NUM_PICTURES, SHARD_SIZE = 4000, 200


def faces() -> list[Pixels]:
    from fer_keras.data.drawn_faces.face_drawing import draw_face
    from fer_keras.data.drawn_faces.face_parameters import make_identity

    return [draw_face(make_identity(0, number), {}, None, 96)[0] for number in range(8)]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number, face in enumerate(faces()):
        cv2.imwrite(str(folder / f"{number}.png"), face)
    listed = folder / "list.txt"
    lines = [f"{folder / f'{number % 8}.png'}\n" for number in range(NUM_PICTURES)]
    listed.write_text("".join(lines))
    return listed


def start(listed: Path, out: Path) -> "subprocess.Popen[str]":
    options = ["--detector", "none", "--shard-size", str(SHARD_SIZE), "--processes", "2"]
    command = [sys.executable, "-m", "fer_keras.predict", "--list", str(listed)]
    return subprocess.Popen(
        [*command, "--output-dir", str(out), *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_parts(out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(list(out.glob("part-*.parquet"))) < count and time.monotonic() < end:
        time.sleep(0.01)


def session(process: "subprocess.Popen[str]") -> list[int]:
    """Who is left of the command: all processes of its session."""
    left = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == process.pid and fields[0] != "Z":
            left.append(int(stat.parent.name))
    return left


def wait_for_nobody(process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 60
    while session(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert session(process) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_taken_up_again(listed: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "out"
    stopped = start(listed, out)
    wait_for_parts(out, 2)
    if how == signal.SIGINT:
        # As a terminal does: every process of the group gets it.
        os.killpg(stopped.pid, how)
    else:
        stopped.send_signal(how)
    _, said = stopped.communicate(timeout=120)
    wait_for_nobody(stopped)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert 2 <= len(kept) < NUM_PICTURES / SHARD_SIZE
    if how != signal.SIGKILL:
        assert stopped.returncode == 130
        assert f"stopped with {len(kept)} of 20 shards done" in said
        assert "Traceback" not in said
        assert list(out.glob(".*")) == []

    again = start(listed, out)
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert f"going on: {len(kept)} of 20 shards are done" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert list(out.glob(".*")) == []
    rows = parquet.read_table(out).to_pylist()
    assert [row["path"] for row in rows] == listed.read_text().splitlines()
    assert {row["error"] for row in rows} == {None}
