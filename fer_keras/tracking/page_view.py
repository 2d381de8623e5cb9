"""How MLflow's page shows the runs of an experiment: columns, their order, and charts.

MLflow keeps a shared view of the page as a tag of the experiment, and opens it where the address
names it. Without one its table has no figure in it and its charts are sorted by name, so that two
studies of robustness stand before the accuracy. The format is that of MLflow 3's page; one that
does not know it ignores the tag.
"""

import base64
import json
import zlib
from typing import Any

VIEW_NAME = "fer_keras"
_KIND = "mlflow.experimentKind"
_TAG = f"mlflow.sharedViewState.{VIEW_NAME}"

_COLUMNS = {
    "metrics.`best_accuracy`": 130,
    "metrics.`best_balanced_accuracy`": 190,
    "metrics.`best_macro_f1`": 130,
    "metrics.`best_nll`": 90,
    "metrics.`best_ece`": 90,
    "params.`network.name`": 130,
    "params.`method.name`": 150,
    "params.`augmentation`": 120,
    "params.`training.epochs`": 130,
    "params.`training.learning_rate`": 170,
    "params.`dataset.label_rule`": 150,
}
_BARS = ("best_accuracy", "best_balanced_accuracy", "best_macro_f1", "best_nll", "best_ece")
_LINES = ("val_accuracy", "val_loss", "accuracy", "loss", "learning_rate")


def view_tags() -> dict[str, str]:
    """The tags of an experiment that hold its view.

    Returns:
        Tag -> value: MLflow's page for training (rather than that for language models), and the
        view, compressed as MLflow does it.
    """
    sections = {
        "kept": ("Kept epoch, validation", "BAR", _BARS),
        "epochs": ("Epochs", "LINE", _LINES),
    }
    state = {
        "orderByKey": f"metrics.`{_BARS[0]}`",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "hideEmptyCharts": True,
        "compareRunSections": [_section(uuid, title) for uuid, (title, _, _) in sections.items()],
        "compareRunCharts": [
            _chart(uuid, kind, metric)
            for uuid, (_, kind, metrics) in sections.items()
            for metric in metrics
        ],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return {_KIND: "custom_model_development", _TAG: f"deflate;{packed}"}


def view_address(base: str, experiment_id: str, tags: dict[str, str]) -> str:
    """The address of the table of an experiment.

    Args:
        base: Such as `http://127.0.0.1:5000`.
        experiment_id: MLflow's.
        tags: Of the experiment; one without the view gets an address without it.
    """
    view = f"viewStateShareKey={VIEW_NAME}&" if _TAG in tags else ""
    return f"{base}/#/experiments/{experiment_id}/runs?{view}workflowType=machine_learning"


def _section(uuid: str, title: str) -> dict[str, Any]:
    state = {"display": True, "isReordered": False, "deleted": False, "isGenerated": True}
    return {"uuid": uuid, "name": title, **state}


def _chart(section: str, kind: str, metric: str) -> dict[str, Any]:
    chart = {
        "uuid": f"{section}-{metric}",
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": True,
        "displayName": metric,
        "metricKey": metric,
    }
    if kind == "LINE":
        chart |= {
            "lineSmoothness": 0,
            "xAxisScaleType": "linear",
            "scaleType": "linear",
            "range": {},
            "xAxisKey": "step",
            "selectedXAxisMetricKey": "",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }
    return chart
