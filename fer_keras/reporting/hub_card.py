"""The page of a model on the Hugging Face Hub: its card, with what the Hub wants to know before.

Written as `README.md` beside `card.md`, so that `huggingface_hub.upload_folder` takes an export
folder as it is.
"""

import json
from collections.abc import Mapping
from typing import Any


def render_hub_card(manifest: Mapping[str, Any], card: str) -> str:
    """A card with YAML front matter, as the Hub reads it ("Model Cards" in its documentation).

    Args:
        manifest: Of the export.
        card: Its `card.md`.

    Returns:
        Markdown text.
    """
    facts = {
        # The weights follow the terms of the data, which the card states.
        "license": "other",
        "license_name": "see-the-card",
        "license_link": "card.md",
        "library_name": "fer_keras",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", "keras", "tflite"],
        "metrics": ["accuracy"],
        "model-index": [{"name": manifest["name"], "results": [_result(manifest)]}],
    }
    # Each value is JSON, which is YAML too, and needs no quoting of our own.
    lines = [f"{key}: {json.dumps(value)}" for key, value in facts.items()]
    return "\n".join(["---", *lines, "---", "", card])


def _result(manifest: Mapping[str, Any]) -> dict[str, Any]:
    name = manifest["dataset"]
    figures = manifest["validation"]
    return {
        "task": {"type": "image-classification", "name": "Facial expression recognition"},
        "dataset": {"name": name, "type": name, "split": "validation"},
        "metrics": [
            {
                "type": "accuracy",
                "value": round(figures["accuracy"], 4),
                "name": f"Accuracy, label rule {figures['label_rule']}, n {figures['n']}",
            }
        ],
    }
