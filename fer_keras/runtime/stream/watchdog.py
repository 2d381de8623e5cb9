"""Tells systemd that the command is at work: its protocol `sd_notify`, one datagram a message.

Source: systemd's manual, sd_notify(3) and sd_watchdog_enabled(3).
"""

import os
import socket
import time
from collections.abc import Mapping


class ServiceWatchdog:
    """Does nothing where systemd did not ask for it: without `NOTIFY_SOCKET` in the environment.

    Args:
        environment: For tests; None takes the process's own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        known = os.environ if environment is None else environment
        address = known.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval_us = known.get("WATCHDOG_USEC", "")
        mine = known.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Twice as often as systemd asks for.
        self._every_s = int(interval_us) / 2e6 if interval_us.isdecimal() and mine else None
        self._last_s = -1e9
        self._is_ready = False

    def alive(self) -> None:
        """Say that the work goes on; called as often as there is work, said as often as needed."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")
        now = time.monotonic()
        if self._every_s is not None and now - self._last_s >= self._every_s:
            self._last_s = now
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say that the command ends by itself."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen is no reason to lose frames.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(self._address)
                sender.send(message.encode())
        except OSError:
            pass
