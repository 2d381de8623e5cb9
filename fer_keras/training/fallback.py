"""The built-in faces in the place of a data set that is not on this machine."""

import dataclasses
import sys
from pathlib import Path

from fer_keras.common.errors import DataError
from fer_keras.config import Experiment

# Enough to see that everything works, within a few minutes on two cores.
_EPOCHS = 20
# Of a cross-validation, and the training images of each of its folds.
_FOLDS = 3
_FOLD_IMAGES = 1000


def with_fallback(experiment: Experiment, require_data: bool) -> Experiment:
    """Puts the built-in faces in the place of a data set that is not on this machine.

    Args:
        experiment: Names the data set.
        require_data: Makes a missing data set an error.

    Returns:
        The experiment to run, a source with its full path, so that the run is evaluated from any
        folder; its `dataset.fallback_for` names what was missing.

    Raises:
        DataError: The data set is missing and required, or it is one that is given by its path.
    """
    from fer_keras.data.load import describe, require_source

    config = experiment.dataset
    info = describe(config.name)  # An unknown name is a mistake, not a missing data set.
    try:
        require_source(config.name, config.source or None)
    except DataError as notice:
        if config.source:
            raise
        if info.needs_path:  # Whoever chose it has pictures of their own in mind.
            raise DataError(
                f"dataset.name={config.name} needs the path of your pictures. "
                f"Mend: --set dataset.source=PATH\nHow they lie there:\n{info.how_to_get}"
            ) from notice
        if require_data:
            raise
        print(
            f"{notice}\nTraining on the built-in synthetic faces instead, for at most "
            f"{_EPOCHS} epochs. --require-data makes this an error.\n",
            file=sys.stderr,
        )
    else:
        if not config.source:
            return experiment
        source = str(Path(config.source).expanduser().resolve())
        return dataclasses.replace(experiment, dataset=dataclasses.replace(config, source=source))
    built_in = dataclasses.replace(
        config,
        name="synthetic_clips" if config.clip_frames else "synthetic_faces",
        label_rule="",
        eval_label_rule="",
        # No class is rare there: the 450 to 660 pictures of each would all be repeated to 2,000.
        oversample_to=min(config.oversample_to, 600),
        fallback_for=config.name,
    )
    if config.every_fold:
        limit = min(config.limit or _FOLD_IMAGES, _FOLD_IMAGES)
        built_in = dataclasses.replace(built_in, split="folds", folds=_FOLDS, limit=limit)
    epochs = min(experiment.training.epochs, _EPOCHS)
    training = dataclasses.replace(experiment.training, epochs=epochs)
    return dataclasses.replace(experiment, dataset=built_in, training=training)
