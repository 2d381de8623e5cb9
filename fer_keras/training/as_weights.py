"""`network.name=as_weights`: an experiment that trains the network of a file, whatever it is.

Its input size is read from the file before any data are prepared, and without Keras, whose backend
may still have to be chosen.
"""

from dataclasses import replace
from typing import Any

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.files import read_json
from fer_keras.config import (
    Experiment,
    NetworkConfig,
    list_experiments,
    load_experiment,
    override,
)
from fer_keras.loading.exported_weights import is_export, read_exported_weights
from fer_keras.loading.keras_files import input_shape
from fer_keras.loading.presets import trained_file
from fer_keras.runtime.shipped import place_of

AS_WEIGHTS = "as_weights"


def with_input_of_weights(experiment: Experiment) -> Experiment:
    """Gives the pictures the size of the network that an experiment takes from its weights.

    Args:
        experiment: Any; one whose network is not `as_weights` is given back as it is.

    Returns:
        The experiment with the size, and a path in the place of the name of a shipped model.

    Raises:
        ConfigError: There are no weights, options are given, or the network reads no pictures.
        ModelFileError: The weights cannot be found or read.
    """
    start = experiment.network
    if start.name != AS_WEIGHTS:
        return experiment
    if not start.weights or start.options:
        received = f"options {start.options!r}" if start.weights else "no weights"
        raise ConfigError(
            "network.name=as_weights: expected a trained network and no options of one. Received: "
            f"{received}. Mend: --set network.weights=RUN_FOLDER, a .keras file or an experiment"
        )
    size: int
    channels: int
    if start.weights in list_experiments():
        dataset = load_experiment(start.weights).dataset
        size, channels = dataset.image_size, dataset.channels
    elif is_export(place := place_of(start.weights)):
        # Its graph is built anew, with the options that the manifest has.
        exported = read_exported_weights(place)
        size, _, channels = exported.image_shape
        start = replace(
            start, name=exported.network, options=dict(exported.options), weights=str(place)
        )
    else:
        file = trained_file(start.weights)
        shape = input_shape(file)
        if len(shape) != 3 or shape[0] != shape[1]:
            raise ConfigError(
                f"network.name=as_weights: expected a network of square pictures. Received: {shape}"
                f": {file}"
            )
        size, _, channels = shape
        start = replace(start, weights=str(file))
    pictures = {"image_size": size, "channels": channels}
    checked = override(experiment, [f"dataset.{key}={value}" for key, value in pictures.items()])
    return replace(checked, network=start)


def options_of(start: NetworkConfig) -> dict[str, Any]:
    """The options that a network was built with, also where it is taken from a file.

    An export says them, so that its network can be built anew and trained on.

    Args:
        start: The network of an experiment, its weights a file or folder.

    Returns:
        The options; of a file whose folder does not say them, none.
    """
    if start.name != AS_WEIGHTS:
        return dict(start.options)
    for name, part in (("result.json", ""), ("manifest.json", "training")):
        try:
            facts = read_json(trained_file(start.weights).with_name(name))
        except ModelFileError:
            continue
        options = (facts.get(part) or {} if part else facts).get("network_options")
        if isinstance(options, dict):
            return options
    return {}
