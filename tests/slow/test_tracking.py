"""Several runs write to one store at the same time and no metric is lost."""

import os
import subprocess
import sys
from pathlib import Path

_WRITER = """
import sys
from fer_keras.tracking import Tracker
tracker = Tracker()
assert tracker.start("shared", sys.argv[1], {"writer": sys.argv[1]}, {})
for step in range(40):
    tracker.log({"loss": float(step)}, step)
tracker.finish("FINISHED")
"""


def test_four_writers(tmp_path: Path) -> None:
    import mlflow

    store = f"sqlite:///{tmp_path}/mlflow.db"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    mlflow.MlflowClient(store).create_experiment("shared")
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(n)], env=environment, cwd=tmp_path)
        for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    client = mlflow.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("shared").experiment_id])
    assert len(runs) == 4
    for run in runs:
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 40
