"""Bars that say what a command is doing, how far it is and for how long: none on a log file."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
# What is done sooner has no bar.
_DELAY_S = 0.5
_TICK_S = 1.0


class _AboveBar:
    """A standard stream whose lines are written above a bar, not into it."""

    def __init__(self, stream: Any, bar: Any) -> None:
        self._stream = stream
        self._bar = bar
        self._line = ""

    def write(self, text: str) -> int:
        """Write what has come when its line is complete."""
        self._line += text
        if "\n" in self._line or "\r" in self._line:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what has come."""
        text, self._line = self._line, ""
        if text:
            self._bar.clear()
            self._stream.write(text)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _remove(name: str, above: _AboveBar) -> None:
    """Takes what stands before a standard stream away, also from under that of another bar."""
    top = getattr(sys, name)
    if top is above:
        setattr(sys, name, above._stream)
    while isinstance(top, _AboveBar):
        if top._stream is above:
            top._stream = above._stream
        top = top._stream


class Progress:
    """How far one phase of the work is; see `progress`."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        # Of its own: converters and imports send stderr elsewhere for a while.
        self._stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
        self._options: dict[str, Any] = {
            "desc": what,
            "total": total,
            "unit": f" {unit}",
            "unit_scale": (total or 0) >= 100_000,
            "leave": False,
            # Some terminals do not know their width and say 0.
            "ncols": os.get_terminal_size(self._stream.fileno()).columns or 80,
            "file": self._stream,
        }
        if not unit:
            self._options["bar_format"] = "{desc}  {elapsed}"
        self._count = 0
        self._began = time.time()
        self._bar: Any = None
        self._above: dict[str, _AboveBar] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        # A long step must not look like a standstill.
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def update(self, number: int = 1) -> None:
        """Count what is done.

        Args:
            number: How many more.
        """
        with self._lock:
            self._count += number
            if self._bar is not None:
                self._bar.update(number)

    def close(self) -> None:
        """Take the bar away."""
        self._ended.set()
        self._ticker.join()
        for name, above in self._above.items():
            above.flush()
            _remove(name, above)
        if self._bar is not None:
            self._bar.close()
        self._stream.close()

    def _tick(self) -> None:
        if self._ended.wait(_DELAY_S):
            return
        with self._lock:
            self._bar = tqdm(**self._options)
            # Counted and timed from the beginning, not from when the bar appeared.
            self._bar.start_t = self._began
            self._bar.n = self._count
            self._bar.refresh()
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream.isatty():
                    self._above[name] = _AboveBar(stream, self._bar)
                    setattr(sys, name, self._above[name])
        while not self._ended.wait(_TICK_S):
            self._bar.refresh()


class _NoProgress(Progress):
    """Where nobody looks."""

    def __init__(self) -> None:
        pass

    def update(self, number: int = 1) -> None:
        pass

    def close(self) -> None:
        pass


def open_progress(what: str, total: int | None = None, unit: str = "") -> Progress:
    """As `progress`, for whoever closes it."""
    return Progress(what, total, unit) if sys.stderr.isatty() else _NoProgress()


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "") -> Iterator[Progress]:
    """A bar on stderr while a block runs; its clock goes on within a long step.

    Args:
        what: The phase, a few words.
        total: How often it will be updated, where that is known.
        unit: What is counted; nothing is without it, and only the time that has passed is shown.

    Yields:
        What to update.
    """
    bar = open_progress(what, total, unit)
    try:
        yield bar
    finally:
        bar.close()


def each(
    items: Iterable[_Item], what: str, total: int | None = None, unit: str = "picture"
) -> Iterator[_Item]:
    """Go through some items with a bar.

    Args:
        items: What to go through.
        what: The phase, a few words.
        total: How many there are, where they do not say it.
        unit: What is counted.

    Yields:
        The items.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()
