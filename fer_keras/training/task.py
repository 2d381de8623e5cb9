"""The one assembly of a training: network, starting weights, method, what it is fed, optimizer."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment
from fer_keras.data.augmentation.policies import mixes_pictures
from fer_keras.data.pipeline import balanced_class_weights, steps_per_epoch
from fer_keras.data.samples import Samples
from fer_keras.data.views import Feed
from fer_keras.loading.keras_files import save_network
from fer_keras.methods import build_method
from fer_keras.models import build_network
from fer_keras.training.as_weights import AS_WEIGHTS
from fer_keras.training.device import use_xla
from fer_keras.training.embedding_cache import feed_embeddings
from fer_keras.training.learned import LearnedPictures
from fer_keras.training.optimizers import build_optimizer, freeze_layers
from fer_keras.training.start import (
    keeping_start,
    load_start,
    network_of_weights,
    with_bases,
    with_encoders,
    with_teacher,
)
from fer_keras.training.weight_average import WeightAverage


@dataclass(frozen=True)
class Task:
    """A method that is ready for `fit`, and what it is fed.

    Attributes:
        method: Compiled; its optimizer is built.
        train: What it trains from: the pictures, or their cached embeddings.
        validation: The same of the validation split.
        augmentation: The policy that is left for the pipeline.
        views: Fixed views of every training picture (`fer_keras.data.views.Feed`).
        class_weights: Weight of the loss of each class; None where all are equal.
        steps_per_epoch: Steps of one pass.
        weights_from: Which weights the network starts with, in words.
        teacher: From which files the teachers are; empty where there is none.
        save: Writes the network that is kept to a path.
        average: Of the weights, over the steps.
        learned: Which pictures a pass leaves out.
        num_parameters: The trainable ones, also of layers that `training.layer_rates` freezes.
    """

    method: Any
    train: Samples
    validation: Samples
    augmentation: str
    views: int
    class_weights: Any
    steps_per_epoch: int
    weights_from: str
    teacher: str
    save: Callable[[Any, Path], None]
    average: WeightAverage
    learned: LearnedPictures
    num_parameters: int


def build_task(
    experiment: Experiment, train: Samples, validation: Samples, *, as_it_is: bool = False
) -> Task:
    """Puts a training together; the trial of the backends times what a run trains.

    Args:
        experiment: The networks that it names are paths.
        train: The training split.
        validation: The validation split.
        as_it_is: For a trial: the method is fed the splits as they are, for what it would work out
            of them takes time, and nothing is seeded.

    Returns:
        All that `fit` needs.

    Raises:
        ConfigError: An unknown network, method or option, or options that do not go together.
        ModelFileError: A trained network is missing, damaged or refused.
    """
    training = dataclasses.replace(experiment.training, layer_rates=stage_rates(experiment))
    if not as_it_is:  # It loads TensorFlow beside every backend.
        keras.utils.set_random_seed(experiment.seed)
    image_shape = train.images.shape[1:]
    network_options, encoders = with_encoders(dict(experiment.network.options), image_shape)
    network_options, bases = with_bases(network_options, train.class_names)
    start = experiment.network
    weights_from = encoders or bases or "none: trained from scratch"
    if start.name == AS_WEIGHTS:
        network, weights_from = network_of_weights(start, train.class_names)
    else:
        network = build_network(start.name, image_shape, len(train.class_names), **network_options)
    if start.weights and start.name != AS_WEIGHTS:
        weights_from = load_start(
            network,
            train.class_names,
            start.weights,
            whole=start.keep_start > 0,
            pictures=train.images,
        )
    if experiment.growth.previous:
        grown_from = load_start(network, train.class_names, experiment.growth.previous)
        weights_from = f"{weights_from}; then {grown_from}" if start.weights else grown_from
    if encoders or bases or start.weights or experiment.growth.previous:
        print(f"weights {weights_from}")
    if experiment.method.options.get("prior_tau") and (
        training.class_weights == "balanced" or training.sampling == "balanced"
    ):
        raise ConfigError(
            "method.options.prior_tau and training.class_weights or training.sampling=balanced "
            "both take the class prior out of the answers. Set one of them."
        )
    options, teacher = with_teacher(dict(experiment.method.options))
    method = build_method(experiment.method.name, network, train.class_names, **options)
    if mixes_pictures(experiment.augmentation):
        method.check_mixtures()
    method.prepare(train)
    save_kept: Any = save_network
    if start.keep_start or 0 in training.layer_rates.values():
        # Nothing is frozen yet: whoever trains the kept network on decides that anew.
        save_kept = keeping_start(save_network, method.network, start.keep_start)
    if start.keep_start:
        weights_from += f"; they are {start.keep_start:.0%} of the kept weights"
    feed = Feed(train, validation, experiment.augmentation)
    if not as_it_is:
        feed = method.feed(train, validation, experiment.augmentation, experiment.seed)
    if training.cached_embeddings:
        # The augmentation is in the embeddings.
        feed = Feed(*feed_embeddings(method, train, validation, experiment), "none")
    count = len(feed.train) // feed.views
    learned = LearnedPictures(experiment, method, count)
    per_epoch = steps_per_epoch(count - learned.left_out, training.batch_size)
    if not method.trainable_variables:
        print("note: this network has nothing to train; it is measured as it is")
        warnings.filterwarnings("ignore", message="The model does not have any trainable weights")
        per_epoch = 1
    method.sam_rho = training.sam_rho
    method.sam_twice = training.sam_statistics == "twice"
    num_parameters = sum(math.prod(v.shape) for v in method.trainable_variables)
    if training.layer_rates:
        freeze_layers(method.network, training.layer_rates)
    method.compile(
        optimizer=build_optimizer(training, per_epoch), jit_compile=use_xla(training.jit_compile)
    )
    method.optimizer.build(method.trainable_variables)
    return Task(
        method,
        feed.train,
        feed.validation,
        feed.augmentation,
        feed.views,
        balanced_class_weights(feed.train) if training.class_weights == "balanced" else None,
        per_epoch,
        weights_from,
        teacher,
        save_kept,
        WeightAverage(method, training.ema_momentum),
        learned,
        num_parameters,
    )


def stage_rates(experiment: Experiment) -> dict[str, float]:
    """The factors of the learning rates of a run: those of its recipe and of its growth.

    Args:
        experiment: A stage, or any other experiment.

    Returns:
        Pattern of layer names -> factor; where the recipe names a layer, its factor counts.
    """
    growth = experiment.growth
    grown: dict[str, float] = {}
    if growth.previous and growth.old_rate != 1.0:
        newest = experiment.network.options["num_branches"]
        grown = {"*": growth.old_rate, f"branch{newest}_*": 1.0}
    return {**grown, **experiment.training.layer_rates}
