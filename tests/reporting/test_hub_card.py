"""The Hub's own library reads the page of a model."""

import json
from pathlib import Path

import pytest

from fer_keras.reporting.hub_card import render_hub_card

_MODEL = Path(__file__).parents[2] / "saved_models" / "ferplus_tiny"


def test_the_hub_reads_the_front_matter() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    manifest = json.loads((_MODEL / "manifest.json").read_text("utf-8"))
    card = (_MODEL / "card.md").read_text("utf-8")
    read = hub.ModelCard(render_hub_card(manifest, card))
    assert read.text.strip() == card.strip()
    assert read.data.library_name == "fer_keras"
    assert read.data.pipeline_tag == "image-classification"
    assert read.data.model_name == manifest["name"]
    (result,) = read.data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("ferplus", "validation")
    assert result.metric_value == round(manifest["validation"]["accuracy"], 4)
    assert result.metric_name == "Accuracy, label rule majority, n 3199"
