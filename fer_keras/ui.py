"""Shows the tracked runs in a browser: `python -m fer_keras.ui` starts MLflow's own page.

It serves the store that `train` writes to from the same folder, on this machine only. `import`
brings run folders that MLflow did not see into the store.
"""

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import TrainingError, run_command
from fer_keras.common.installed import require
from fer_keras.tracking.server import (
    _HOST,
    check_port,
    check_store,
    comparison_line,
    experiment_lines,
    serve,
    stop,
)
from fer_keras.tracking.tracker import store_uri

_EXAMPLES = """examples:
  python -m fer_keras.ui
  python -m fer_keras.ui --port 8080
  MLFLOW_TRACKING_URI=sqlite:////home/me/mlflow.db python -m fer_keras.ui
  python -m fer_keras.ui import runs/NAME runs/OTHER     runs without MLflow: settings, all epochs,
                                                         files, and the champion of the data set

The store is MLFLOW_TRACKING_URI, or mlflow.db in the current folder. Ctrl-C ends the page.
"""


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, received {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.ui",
        description="Show the tracked runs in a browser, on this machine only.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("serve", "import"),
        default="serve",
        help="serve the page (default), or bring run folders into the store",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders, for import")
    parser.add_argument("--port", type=_port, default=5000, help="default: 5000")
    arguments = parser.parse_args(argv)
    if bool(arguments.runs) != (arguments.action == "import"):
        parser.error("expected RUN... with import, and only with it")
    require("python -m fer_keras.ui", "mlflow")
    if arguments.action == "import":
        from fer_keras.tracking.import_run import import_run

        for run in arguments.runs:
            for line in import_run(run):
                print(line, flush=True)
        return 0
    uri = store_uri()
    check_store(uri)
    check_port(arguments.port)

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    print(f"starting MLflow on {uri}", flush=True)
    server = serve(uri, arguments.port)
    base = f"http://{_HOST}:{arguments.port}"
    print(f"{base}  Ctrl-C ends it", flush=True)
    try:
        for line in (*experiment_lines(base), comparison_line(base)):
            if line:
                print(line, flush=True)
        server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)
    raise TrainingError(f"MLflow's server ended with {server.returncode}.")


if __name__ == "__main__":
    run_command(main)
