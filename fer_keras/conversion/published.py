"""Weights that their authors published as a run folder, from which an export goes on."""

import dataclasses
import json
import math
from pathlib import Path

from fer_keras.common.errors import ExportError
from fer_keras.common.files import file_sha256, write_text
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig
from fer_keras.loading.published import FAMILIES, read_published


def published_run(
    path: Path,
    folder: Path,
    *,
    network: str,
    labels: str,
    decision: str,
    dataset: str,
    source: str = "",
    command: str = "",
) -> None:
    """Writes the run folder of a network that was trained elsewhere.

    Args:
        path: The authors' file, or the folder of an ESR.
        folder: An empty folder; gets `best.keras`, `experiment.json` and `result.json`.
        network: A family of `fer_keras.loading.published`.
        labels: The order of its classes.
        decision: How an answer is made; empty = the authors' way.
        dataset: The data set by whose validation split the export is calibrated and compared; the
            logits are brought into the order of its classes.
        source: Its file or folder; empty where it is looked for.
        command: The command line, for the record.

    Raises:
        ConfigError: Unknown family, labels or decision.
        ModelFileError: The file is missing, damaged or of another network.
        DataError: The data set is missing, or has a class that the network does not know.
        ExportError: The folder cannot be written.
    """
    from fer_keras.data.load import prepare
    from fer_keras.data.prepared import read_content
    from fer_keras.loading.keras_files import save_network
    from fer_keras.models.fusion import in_order

    found = read_published(path, network, labels, decision)
    names = read_content(prepare(dataset, source or None)).class_names
    # Its input is larger than the authors' network where the decision takes crops.
    height, _, channels = found.network.inputs[0].shape[1:]
    save_network(in_order(found.network, names), folder / "best.keras", error=ExportError)
    experiment = Experiment(
        name=f"{network}_{path.name.partition('.')[0]}",
        dataset=DatasetConfig(
            name=dataset, source=source, image_size=height, channels=channels, enlarge="linear"
        ),
        network=NetworkConfig(FAMILIES[network].network, found.options, str(path)),
    )
    result = {
        "model_sha256": file_sha256(folder / "best.keras"),
        "published": {
            "source": FAMILIES[network].source,
            "file": path.name,
            "sha256": found.sha256,
            "labels": list(found.class_names),
            "decision": found.decision,
        },
        "trainable_parameters": sum(
            math.prod(weight.shape) for weight in found.network.trainable_variables
        ),
        "command": command,
    }
    write_text(folder / "experiment.json", json.dumps(dataclasses.asdict(experiment), indent=2))
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
