"""Bars and quiet imports, seen as on a terminal."""

import os
import pty
import subprocess
import sys

from fer_keras.common.progress import each, progress


def seen_on_a_terminal(code: str, **environment: str) -> str:
    """What a Python program writes to a terminal."""
    ours, theirs = pty.openpty()
    # Without the choice, as at a user's.
    known = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env={**known, **environment}
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # So a terminal ends on Linux.
            break
        if not block:
            break
        seen += block
    os.close(ours)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_the_clock_goes_on_within_a_long_step() -> None:
    code = (
        "import time\nfrom fer_keras.common.progress import progress\n"
        "with progress('calibrating', 3, 'step') as bar:\n"
        "    bar.update()\n    time.sleep(3.2)\n"
        "print('done')"
    )
    seen = seen_on_a_terminal(code)
    assert "calibrating:  33%" in seen
    assert "[00:02<00:0" in seen
    assert seen.rstrip().endswith("done")


def test_what_is_counted_without_an_end_is_counted() -> None:
    code = (
        "import time\nfrom fer_keras.common.progress import each\n"
        "for _ in each(iter(range(4)), 'preparing'):\n    time.sleep(0.5)\n"
    )
    assert "preparing: 3 picture [00:01" in seen_on_a_terminal(code)


def test_lines_stand_above_a_bar() -> None:
    code = (
        "import sys, time\nfrom fer_keras.common.progress import progress\n"
        "with progress('outer'), progress('inner', 4, 'step'):\n"
        "    time.sleep(2)\n    print('one', 1)\n    print('two', file=sys.stderr)\n"
        "    time.sleep(1.5)\n    sys.stdout.write('rest')\n"
        "print()\nassert sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__\n"
    )
    seen = seen_on_a_terminal(code)
    # Each begins where a bar was wiped off, and not behind one.
    for line in ("one 1\r\n", "two\r\n", "rest"):
        before = seen.partition(line)[0]
        assert line in seen
        assert before.endswith(("\r", "\x1b[A", "\n"))


def test_what_is_short_has_no_bar() -> None:
    code = (
        "from fer_keras.common.progress import each, progress\n"
        "with progress('drawing'):\n    pass\n"
        "print(sum(each([1, 2, 3], 'adding')))"
    )
    assert seen_on_a_terminal(code) == "6\r\n"


def test_a_bar_is_seen_while_stderr_leads_elsewhere() -> None:
    code = (
        "import os, time\nfrom fer_keras.common.progress import progress\n"
        "with progress('converting'):\n"
        "    kept = os.dup(2); os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "    time.sleep(3.2)\n    os.dup2(kept, 2)\n"
    )
    assert "converting  00:01" in seen_on_a_terminal(code)


def test_files_get_no_bar(capfd: object) -> None:
    with progress("drawing", 2) as bar:
        bar.update()
    assert list(each(range(3), "counting")) == [0, 1, 2]


_LOAD = (
    "import os, sys\nimport types\n"
    "from fer_keras.common import quiet\n"
    # In the place of TensorFlow, which takes half a minute on a busy machine.
    "def load(name):\n"
    "    sys.modules[name] = types.SimpleNamespace(__path__=['nowhere'])\n"
    "    os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called\\n')\n"
    "    os.write(2, b'I0000 00:00:17 123 port.cc:153] oneDNN custom operations are on.\\n')\n"
    "    os.write(2, b'F0000 00:00:17 123 cpu.cc:9] This processor lacks AVX.\\n')\n"
    "    {end}\n"
    "quiet.importlib = types.SimpleNamespace(import_module=load)\n"
    "quiet.load_keras()\n"
    "os.write(2, b'I0000 as before\\n')\n"
)


def test_log_lines_of_the_import_are_left_out() -> None:
    seen = seen_on_a_terminal(_LOAD.replace("{end}", "pass"))
    assert "absl" not in seen
    assert "oneDNN" not in seen
    assert "lacks AVX" in seen
    assert "I0000 as before" in seen


def test_log_lines_are_shown_to_those_who_ask() -> None:
    seen = seen_on_a_terminal(_LOAD.replace("{end}", "pass"), TF_CPP_MIN_LOG_LEVEL="0")
    assert "oneDNN custom operations" in seen


def test_the_last_words_of_a_process_are_not_lost() -> None:
    dies = _LOAD.replace("{end}", "os.abort()")
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {dies!r}])"
    assert "lacks AVX" in seen_on_a_terminal(code)
