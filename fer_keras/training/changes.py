"""Settings of the command line on top of an experiment.

Another network, method or data set may not know what the experiment says about its own. That is
left out, unless the user said it: only then can it be meant for the new one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import fer_keras.methods
import fer_keras.models
from fer_keras.common.plugins import find_plugins, is_own_file, keyword_options
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    GrowthConfig,
    MethodConfig,
    NetworkConfig,
    override,
)
from fer_keras.data.load import describe, label_rules
from fer_keras.training.as_weights import AS_WEIGHTS

_Part = TypeVar("_Part", NetworkConfig, MethodConfig)


def with_changes(
    experiment: Experiment, assignments: Sequence[str], note: Callable[[str], None] = print
) -> Experiment:
    """Applies assignments as `override` does, and leaves out what no longer fits.

    Under another `network.name` these are the options that the new network does not know, the
    weights that the old one starts from, and growth where there are no branches; under another
    `method.name` the options that the new method does not know; under another `dataset.name` the
    source and the list of labels, and label rules that the new one does not have. What an
    assignment sets stays.

    Args:
        experiment: The experiment to start from; it is left as it is.
        assignments: See `fer_keras.config.override`.
        note: Gets a line for each part of which something is left out.

    Returns:
        A new experiment.

    Raises:
        ConfigError: See `override`.
        DataError: There is no such data set.
    """
    changed = override(experiment, assignments)
    given = {assignment.partition("=")[0].strip() for assignment in assignments}
    network, method, dataset = changed.network, changed.method, changed.dataset
    growth = changed.growth
    dropped: dict[str, list[str]] = {}
    if network.name != experiment.network.name:
        network, dropped["network"] = _known_options(network, "network", given)
        if network.weights and network.name != AS_WEIGHTS and "network.weights" not in given:
            dropped["network"].append("weights")
            network = replace(network, weights="", keep_start=0.0)
        if "num_branches" in dropped["network"] and growth.first:
            growth = GrowthConfig()
    if method.name != experiment.method.name:
        method, dropped["method"] = _known_options(method, "method", given)
    if dataset.name != experiment.dataset.name:
        dataset, dropped["dataset"] = _known_labels(dataset, given)
    for part, settings in dropped.items():
        if settings:
            old, new = (getattr(each, part).name for each in (experiment, changed))
            note(f"{part} {new}: left out what is for {old}: {', '.join(settings)}")
    return replace(changed, network=network, method=method, dataset=dataset, growth=growth)


def _known_options(part: _Part, group: str, given: set[str]) -> tuple[_Part, list[str]]:
    """The part without foreign options, and their names."""
    known = _options_of(part.name, group)
    if known is None or f"{group}.options" in given:
        return part, []
    foreign = [
        option
        for option in part.options
        if option not in known and f"{group}.options.{option}" not in given
    ]
    kept = {option: value for option, value in part.options.items() if option not in foreign}
    return replace(part, options=kept), foreign


def _options_of(name: str, group: str) -> tuple[str, ...] | None:
    """The options of a network or method; None where there is none of this name.

    Its file is read, not imported: Keras may not be loaded before its backend is chosen.
    """
    if name == AS_WEIGHTS:
        return ()
    package = fer_keras.models if group == "network" else fer_keras.methods
    folder = Path(package.__path__[0])
    file = Path(name).expanduser() if is_own_file(name) else find_plugins(folder, "build").get(name)
    return keyword_options(file, "build") if file is not None and file.is_file() else None


def _known_labels(dataset: DatasetConfig, given: set[str]) -> tuple[DatasetConfig, list[str]]:
    """The data set without what belongs to another one, and the names of that."""
    rules = label_rules(describe(dataset.name))
    foreign = [key for key in ("source", "label_list") if getattr(dataset, key)]
    foreign += [
        key
        for key in ("label_rule", "eval_label_rule")
        if getattr(dataset, key) not in ("", *rules)
    ]
    foreign = [key for key in foreign if f"dataset.{key}" not in given]
    cleared: dict[str, Any] = dict.fromkeys(foreign, "")
    return replace(dataset, **cleared), foreign
