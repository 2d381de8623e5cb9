"""What every training method shares: a Keras model around the network that is saved and exported.

A method holds the loss, the metrics and what they need while training; the network inside it holds
everything a prediction needs. So a file with only `method.network` predicts without the method.

What a method learns beside the classes stands behind them in the targets (`Method.target_facts`),
so batches stay pairs of two arrays. A method may be fed row numbers (`needs_rows`) and looks at the
training split once (`prepare`): what it remembers of every picture is a weight that a checkpoint
has. A loss that would misread mixed targets refuses them before training (`check_mixtures`).
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.data.samples import Samples
from fer_keras.data.views import Feed
from fer_keras.methods import sharpness
from fer_keras.models.layers import with_class_names


class Method(keras.Model):
    """A network together with the way it is trained.

    A subclass overrides `sample_losses` and, where it reports more than the accuracy,
    `update_metrics`. Both are written in `keras.ops` alone, so that `fit` and `evaluate` run on
    TensorFlow, JAX and PyTorch. On JAX the metrics are computed outside the scope that holds the
    model's state: `update_metrics` must not read a variable of the model, so fixed tables are NumPy
    arrays. Random numbers come from a `keras.random.SeedGenerator` held as an attribute: its state
    is then one of `method.variables`, and a checkpoint of those is complete.

    Attributes:
        network: The functional network with a dict of named outputs; its logits carry the names.
        class_names: The ordered names of the classes.
        required_outputs: The named outputs the method consumes.
        target_facts: Facts of the samples that stand behind the classes in the targets.
        last_losses: After `remember_losses`, of every picture the loss when it was last trained on.
        fed: What a batch is given to: the network, or the part of it behind its frozen encoder.
        needs_rows: Whether training feeds `(pictures, rows)`, the rows `(batch,)` int32 being the
            numbers of the pictures in the training split; for methods that remember something of
            every picture.
        sam_rho: The radius of sharpness-aware minimisation (`fer_keras.methods.sharpness`), set
            before `fit`; 0 = Keras' plain step.
        sam_twice: Whether its second pass moves the statistics of batch norm too.
    """

    required_outputs: tuple[str, ...] = ("logits",)
    needs_rows = False
    sam_rho: float = 0.0
    sam_twice = False
    target_facts: tuple[str, ...] = ()

    def __init__(
        self, network: keras.Model, class_names: Sequence[str], *, name: str | None = None
    ) -> None:
        """Checks that the network offers what the method consumes.

        Args:
            network: Functional network; its `logits` are `(batch, classes)`.
            class_names: The ordered names of the classes.
            name: Name of the Keras model; the class name in lower case if None.

        Raises:
            ConfigError: A named output is missing, a class name is given twice, or the number of
                logits is not the number of classes.
        """
        # Before the first attribute is set: Keras tracks layers from here on.
        super().__init__(name=name or type(self).__name__.lower())
        check_outputs(network, self.required_outputs, type(self).__name__)
        self.class_names = tuple(class_names)
        if len(set(self.class_names)) != len(self.class_names):
            raise ConfigError(f"A class name is given twice: {', '.join(self.class_names)}.")
        num_logits = network.output["logits"].shape[-1]
        if num_logits != len(self.class_names):
            raise ConfigError(
                f"Network {network.name!r} has {num_logits} logits, expected one for each of the "
                f"{len(self.class_names)} classes: {', '.join(self.class_names)}. "
                f"Build it with num_classes={len(self.class_names)}."
            )
        # The names travel inside the saved file.
        self.network = with_class_names(network, self.class_names)
        self.fed = self.network
        self.last_losses: Any = None
        self._direct: Any = None
        self.accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The named outputs of the network.

        Args:
            inputs: Raw pixels 0..255, `(batch, height, width, channels)`, or what `fed` takes; with
                `remember_losses` in training `(pixels, rows)`.
            training: Whether layers such as dropout act as in training.

        Returns:
            At least `logits` `(batch, classes)`.
        """
        if training and self.last_losses is not None:
            inputs, _ = inputs
        if keras.backend.backend() == "torch":
            from fer_keras.models.torch_graph import DirectGraph, is_real

            if not is_real(inputs):
                return self.fed(inputs, training=training)
            if self._direct is None or self._direct.network is not self.fed:
                self._direct = DirectGraph(self.fed)
            if training and getattr(self, "optimizer", None) is not None:
                self._direct.lay_out(self.optimizer)
            return self._direct(inputs, training)
        return self.fed(inputs, training=training)

    def train_step(self, *arguments: Any) -> Any:
        """One step of `fit`: Keras' own, or the sharpness-aware one; see Keras' trainers."""
        if self.sam_rho:
            return sharpness.train_step(self, self.sam_rho, *arguments, twice=self.sam_twice)
        return super().train_step(*arguments)

    def prepare(self, samples: Samples) -> None:
        """Looks at the training split before the first step; a subclass may define it.

        Args:
            samples: What will be trained on.
        """

    def remember_losses(self, count: int, start: float) -> None:
        """Keeps what each picture cost in the training step, in a variable that a checkpoint has.

        The loss is that of `sample_losses`, without weights. Of several views of a picture, whose
        rows lie `count` apart, the last one that was seen counts.

        Args:
            count: Number of the pictures.
            start: Stands in `last_losses` for a picture that was not trained on.

        Raises:
            ConfigError: The method has its own `call`: it mixes pictures, or compares them.
        """
        if type(self).call is not Method.call:
            raise ConfigError(
                f"training.skip_learned: {type(self).__name__} trains on more than the outputs for "
                "a picture, so what a picture alone costs is not known. Set it to 0, or choose "
                "cross_entropy, label_distribution or multi_teacher."
            )
        self.last_losses = self.add_weight(
            name="last_losses",
            shape=(count,),
            initializer=keras.initializers.Constant(start),
            trainable=False,
            dtype="float32",
        )
        self.needs_rows = True

    def feed(self, train: Samples, validation: Samples, augmentation: str, seed: int) -> Feed:
        """What the method trains from, after `prepare`: as it is, unless a subclass changes it.

        Args:
            train: The training split.
            validation: The validation split; it needs the `target_facts` too.
            augmentation: The experiment's policy.
            seed: The run's seed.

        Returns:
            The splits, and the policy that is left for the pipeline.
        """
        return Feed(train, validation, augmentation)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """The loss of every sample of a batch; a subclass defines it.

        Args:
            y: Targets `(batch, classes)`, float32, rows of sum 1.
            outputs: The named outputs of the network.
            training: False when evaluating.

        Returns:
            `(batch,)` float32.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no sample_losses.")

    def check_mixtures(self) -> None:
        """Refuses targets that a policy mixed of two (CutMix, MixUp); a subclass may.

        A loss that is linear in the target, such as cross-entropy, needs nothing: the loss of the
        mixture is the mixture of the losses. Accuracy while training is then against the arg max of
        the mixture, so it stays below that of whole pictures.

        Raises:
            ConfigError: The loss means something else for a mixture.
        """

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """Updates the metrics beside loss and accuracy; a subclass may define it.

        Args:
            y: Targets `(batch, classes)`, float32, rows of sum 1.
            outputs: The named outputs of the network.
        """

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean loss of the samples, plus the losses that layers of the network add.

        With weights it is the weighted mean, `sum(w * loss) / sum(w)`: the scale of the weights
        does not change the step, and a sample of weight 0 counts for nothing.

        Args:
            x: What was fed; its rows are read where losses are remembered.
            y: Targets `(batch, classes)`, rows of sum 1.
            y_pred: The named outputs of the network.
            sample_weight: `(batch,)`, not negative; None for equal weights.
            training: False when evaluating.

        Returns:
            Scalar, float32. On several replicas of TensorFlow, which adds up their gradients, this
            replica's share of it.

        Raises:
            ConfigError: The targets are not of shape `(batch, classes)`.
        """
        y = self._targets(y)
        losses = ops.cast(self.sample_losses(y, y_pred, training), "float32")
        if training and self.last_losses is not None:
            places = ops.expand_dims(x[1] % self.last_losses.shape[0], -1)
            known = ops.scatter_update(self.last_losses, places, ops.stop_gradient(losses))
            self.last_losses.assign(known)
        replicas = _num_replicas()
        if sample_weight is None:
            loss = ops.mean(losses) / replicas
        else:
            weights = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            total = _sum_over_replicas(ops.sum(weights))
            loss = ops.divide_no_nan(ops.sum(weights * losses), total)
        for added in self.losses:
            loss = loss + ops.cast(ops.sum(added), "float32") / replicas
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Updates the metrics of a batch; they are not weighted.

        Args:
            x: Unused; part of Keras' signature.
            y: Targets `(batch, classes)`, rows of sum 1.
            y_pred: The named outputs of the network.
            sample_weight: `(batch,)`: accuracy counts every picture once, but for those of weight
                0, which counts for nothing.

        Returns:
            The value of every metric so far, by name.
        """
        y = self._targets(y)
        counted = None if sample_weight is None else ops.cast(sample_weight > 0, "float32")
        classes = y[:, : len(self.class_names)]
        self.accuracy.update_state(classes, y_pred["logits"], counted)
        self.update_metrics(y, y_pred)
        results: dict[str, Any] = self.get_metrics_result()
        return results

    def _targets(self, y: Any) -> Any:
        # Integer labels would broadcast against the logits and train on nonsense in silence.
        shape = tuple(y.shape)
        columns = len(self.class_names) + len(self.target_facts)
        if len(shape) != 2 or shape[1] not in (columns, None):
            raise ConfigError(
                f"Expected targets (batch, {columns}) whose rows sum to 1, received "
                f"shape {shape}. Integer labels become targets with keras.utils.to_categorical."
            )
        return ops.cast(y, "float32")


def check_outputs(network: keras.Model, required: Sequence[str], method: str) -> None:
    """Refuses a network that lacks a named output.

    Args:
        network: Functional network.
        required: The names that the method consumes.
        method: The method's name, for the message.

    Raises:
        ConfigError: The outputs are not a dict, or a name is missing in it.
    """
    outputs = network.output
    offered = sorted(outputs) if isinstance(outputs, dict) else []
    missing = [name for name in required if name not in offered]
    if missing:
        raise ConfigError(
            f"{method} needs the network output {', '.join(missing)}, which network "
            f"{network.name!r} does not have. It has: "
            f"{', '.join(offered) or 'no named outputs (expected a dict)'}."
        )


def soft_cross_entropy(targets: Any, logits: Any) -> Any:
    """Cross-entropy of each row against a distribution, `-sum_c t_c log p_c`.

    Args:
        targets: `(batch, classes)`, rows of sum 1.
        logits: `(batch, classes)`.

    Returns:
        `(batch,)` float32, in nats.
    """
    # float32 also under mixed precision: log-softmax of float16 loses the small probabilities.
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -ops.sum(ops.cast(targets, "float32") * log_probabilities, axis=-1)


def _num_replicas() -> int:
    """Replicas of the model whose gradients TensorFlow adds up; 1 elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def _sum_over_replicas(value: Any) -> Any:
    if _num_replicas() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
