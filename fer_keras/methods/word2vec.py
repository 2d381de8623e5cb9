"""Trains towards word vectors: each class is the vector of a word, the nearest one is predicted.

The network's embedding is projected into the space of the words and scaled to length 1; the scores
are its cosines with the fixed vectors of the class words ("angry", "happy", ...). The idea is that
a mistake towards a word of near meaning then costs less. The vectors are public (word2vec: Mikolov
et al., NIPS 2013; GloVe: Pennington et al., EMNLP 2014); a slice of GloVe is shipped.

The write-up this method was first described in has printed code. What is wrong in it, and the test
of tests/methods/test_word2vec.py that keeps each mistake out of here:

1. Keras' cosine loss is the negative similarity, and one variant takes its absolute value: a
   perfect match costs as much as the opposite vector, and training drives the output orthogonal to
   its target. `test_1_loss_is_0_aligned_1_orthogonal_2_opposite`
2. The loops leave out samples of every batch (the last two in the loss, three in the accuracy) and
   divide by the full, constant batch size. `test_2_every_sample_counts_once` (also in a last
   partial batch)
3. The label of a sample is looked up so that it is right for one-hot or for integer labels only, in
   one variant always class 1. `test_3_one_hot_and_distributions_find_their_vectors`
4. The last class is never tried, a variable is used before it has a value, and the prediction is
   replaced by an index, which has no gradient. `test_4_every_class_is_reachable`,
   `test_4_gradients_flow`
5. The accuracy compares the position in the batch with the label, and its running maximum is not
   reset between samples. `test_5_accuracy_is_arg_max_against_arg_max`
6. The loss leaves the graph (`.numpy().tolist()`): no gradient, no compiled step, a Python loop
   over the samples. `test_6_loss_runs_in_a_compiled_step`
7. One variant returns the sum over the batch, so the learning rate scales with the batch size, the
   other a Python number. `test_7_loss_is_a_mean_whatever_the_batch_size`
8. The vectors stand in alphabetical order, the labels in the data set's.
   `test_8_vectors_follow_class_names_not_positions`
9. The 3.6 GB of vectors are needed to begin with, and antonyms lie close together without anybody
   looking. `test_9_shipped_vectors_suffice_and_centring_spreads_them`
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import keras
import numpy as np
from keras import ops

from fer_keras.common.constraints import Choices, CountOrZero, Positive, Rate
from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.labels import class_name
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy
from fer_keras.methods.word_vectors import (
    FloatArray,
    find_word_vectors,
    keyed_vectors,
    load_word_vectors,
    vocabulary,
)
from fer_keras.models.layers import ClassVectors

DEFAULT_WORDS: dict[str, str] = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
}
"""The word of each emotion where `words` says nothing else."""

VALENCE_AROUSAL: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "surprise": (0.40, 0.67),
    "sadness": (-0.63, -0.27),
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "contempt": (-0.40, 0.20),
}
"""Pleasure and arousal, -1..1: Russell and Mehrabian, "Evidence for a three-factor theory of
emotions", J. Research in Personality 11, 1977. Contempt is ours, between disgust and neutral."""

LOSSES = ("cosine", "cosine_softmax", "similarity_smoothing", "absolute_cosine")


class Word2Vec(Method):
    """Trains the cosines between the embedding and the class words' vectors.

    Attributes:
        words: The word of each class, in the order of the classes.
        class_vectors: `(classes, d)` float32 unit vectors the network is trained towards.
        word_similarities: `(classes, classes)` cosines of the words themselves, also where the
            network is trained towards centred or random vectors. Worth a look before training:
            words of opposite meaning can be near.
    """

    required_outputs = ("logits", "embedding", "cosines")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        words: Sequence[str],
        class_vectors: FloatArray,
        word_similarities: FloatArray,
        loss: str,
        temperature: float,
    ) -> None:
        """Wraps a network that already ends in cosines; `build` makes one.

        Args:
            network: Functional network with `logits`, `embedding` and `cosines`.
            class_names: The ordered names of the classes.
            words: The word of each class.
            class_vectors: `(classes, d)`, unit rows.
            word_similarities: `(classes, classes)`, cosines of the words.
            loss: One of `LOSSES`.
            temperature: Above 0; of the similarities in `similarity_smoothing`.

        Raises:
            ConfigError: A missing output.
        """
        super().__init__(network, class_names)
        self.words = tuple(words)
        self.loss_name = loss
        # NumPy, not variables: on JAX the metrics may read no variable of the model.
        self.class_vectors = class_vectors
        self.word_similarities = word_similarities
        exponents = class_vectors @ class_vectors.T / temperature
        weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
        self._smoothed = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        self.semantic_error = keras.metrics.Mean(name="semantic_error")

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """The chosen loss of each sample, `(batch,)`; see `build` and `Method.sample_losses`."""
        if self.loss_name == "cosine":
            cosines = ops.cast(outputs["cosines"], "float32")
            return ops.sum(y * (1.0 - cosines), axis=-1)
        if self.loss_name == "absolute_cosine":
            return ops.sum(y * ops.abs(ops.cast(outputs["cosines"], "float32")), axis=-1)
        if self.loss_name == "cosine_softmax":
            return soft_cross_entropy(y, outputs["logits"])
        targets = ops.matmul(y, self._smoothed)
        # The Kullback-Leibler divergence: the same gradient as cross-entropy, and 0 when reached.
        entropy = -ops.sum(targets * ops.log(ops.maximum(targets, 1e-30)), axis=-1)
        return soft_cross_entropy(targets, outputs["logits"]) - entropy

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """`semantic_error`: mean cosine distance, 0..2, of predicted and true word."""
        classes = len(self.class_names)
        true = ops.one_hot(ops.argmax(y, axis=-1), classes)
        predicted = ops.one_hot(ops.argmax(outputs["logits"], axis=-1), classes)
        distances = ops.matmul(true, 1.0 - self.word_similarities)
        self.semantic_error.update_state(ops.sum(distances * predicted, axis=-1))


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    vectors: str = "",
    words: Mapping[str, str] | str = "",
    centred: bool = False,
    random: bool = False,
    valence_arousal: bool = False,
    seed: CountOrZero = 0,
    loss: Annotated[str, Choices(LOSSES)] = "cosine",
    scale: Positive = 16.0,
    temperature: Positive = 0.1,
    dropout: Rate = 0.0,
) -> Word2Vec:
    """Puts a word-vector head on a network.

    The classifier of the given network is not part of the new graph. The losses, for cosines `c_j`
    of a sample with the class vectors and a target distribution `t` (one-hot or votes):

    - `"cosine"`: the expected cosine distance `sum_j t_j (1 - c_j)`, 0..2. With `u` the
      embedding it is `1 - u . sum_j t_j V_j`: mixing targets (votes, CutMix, MixUp) mixes the
      target vectors, and the best answer is the direction of the mixed vector.
    - `"cosine_softmax"`: cross-entropy of `softmax(scale * c)` against `t`.
    - `"similarity_smoothing"`: divergence of `softmax(scale * c)` from `t @ softmax(V V^T /
      temperature)`, `V` the class vectors; with `scale = 1 / temperature` it is 0 exactly where the
      embedding of a one-hot sample is its class vector.
    - `"absolute_cosine"`: `sum_j t_j |c_j|`, the first mistake above, kept to show where it leads
      (`study word2vec`): training turns the embedding away from its word until they are orthogonal.

    All but the last are linear in `t`, or cross-entropy against what is.

    Args:
        network: Functional network with the output `embedding` `(batch, d)`.
        class_names: The ordered names of the classes.
        vectors: Word-vector file (see `fer_keras.methods.word_vectors`); empty for the shipped
        slice.
        words: Class name -> word, for those classes whose word is not to be the one of
            `DEFAULT_WORDS`; a class that is no known emotion is looked up by its own name.
        centred: Take the mean of the class vectors off each and scale to length 1 again, which
            spreads them. An extension; not for `random`.
        random: The control experiment: random orthonormal vectors in place of the words'.
        valence_arousal: `VALENCE_AROUSAL` in place of the words' vectors: the points of the disc
            raised to the half sphere above it, so that neutral, at its middle, is a direction too.
        seed: Of the random vectors.
        loss: One of `LOSSES`.
        scale: Logits per unit of cosine, above 0; 16 to 64 is usual.
        temperature: Above 0; small values give targets nearer to one-hot.
        dropout: Rate on the embedding before the projection, 0..1.

    Returns:
        The method. Its network has the outputs `logits` (`scale * cosines`), `cosines`
        `(batch, classes)`, `embedding` `(batch, dimensions)` of length 1 in the space of the words,
        and `features` where the given network has them.

    Raises:
        ConfigError: A word has no vector, two classes have one word, or
            the network has no fitting `embedding`.
        DataError: The word-vector file cannot be read.
    """
    check_outputs(network, ("embedding",), "word2vec")
    embedding = network.output["embedding"]
    if len(embedding.shape) != 2:
        raise ConfigError(
            f"word2vec needs an embedding (batch, d), received shape {tuple(embedding.shape)} from "
            f"network {network.name!r}."
        )
    chosen = {"centred": centred, "random": random, "valence_arousal": valence_arousal}
    spaces = [name for name, given in chosen.items() if given]
    if len(spaces) > 1:
        raise ConfigError(
            f"Expected one of {', '.join(chosen)}, received {', '.join(spaces)}. Choose one."
        )
    class_words = words_of_classes(class_names, words)
    word_vectors = _unit(load_word_vectors(vectors, class_words))
    space = spaces[0] if spaces else "word"
    table = space_vectors(space, class_names, vectors, words, seed)

    if dropout:
        embedding = keras.layers.Dropout(dropout, name="word_dropout")(embedding)
    # float32 from here on also under mixed precision: half precision blurs near cosines.
    x = keras.layers.Dense(table.shape[1], dtype="float32", name="word_projection")(embedding)
    unit = keras.layers.UnitNormalization(dtype="float32", name="word_embedding")(x)
    scores = ClassVectors(class_words, space, dtype="float32", name="cosines")
    cosines = scores(unit)
    scores.set_vectors(table)
    logits = keras.layers.Rescaling(scale, dtype="float32", name="logits")(cosines)
    outputs = {"logits": logits, "cosines": cosines, "embedding": unit}
    if "features" in network.output:
        outputs["features"] = network.output["features"]
    return Word2Vec(
        keras.Model(network.input, outputs, name=network.name),
        class_names,
        words=class_words,
        class_vectors=table,
        word_similarities=word_vectors @ word_vectors.T,
        loss=loss,
        temperature=temperature,
    )


def space_vectors(
    space: str,
    class_names: Sequence[str],
    vectors: str = "",
    words: Mapping[str, str] | str = "",
    seed: int = 0,
) -> FloatArray:
    """The vectors that classes are trained towards.

    Args:
        space: `word`, `centred`, `random` or `valence_arousal`; see `build`.
        class_names: The ordered names of the classes.
        vectors: Word-vector file; empty for the shipped slice.
        words: As for `build`.
        seed: Of the random vectors.

    Returns:
        `(classes, d)` float32, rows of length 1.

    Raises:
        ConfigError: A word has no vector, or a class has no place in valence and arousal.
        DataError: The word-vector file cannot be read.
    """
    if space == "valence_arousal":
        return _on_half_sphere(class_names)
    found = load_word_vectors(vectors, words_of_classes(class_names, words))
    return _class_vectors(_unit(found), space, seed)


def words_of_classes(
    class_names: Sequence[str], words: Mapping[str, str] | str = ""
) -> tuple[str, ...]:
    """The word of each class, by name.

    Args:
        class_names: The ordered names of the classes, in any known spelling.
        words: Class name -> word, for the classes that do not take their default; or empty.

    Returns:
        One word for each class, in the order of the classes.

    Raises:
        ConfigError: `words` names a class that is not there, or two classes have one word.
    """
    if isinstance(words, str):
        if words:
            raise ConfigError(
                f"Expected words as a mapping of class name to word, received {words!r}."
            )
        words = {}
    keys = [class_name(name) for name in class_names]
    chosen = {class_name(name): word for name, word in words.items()}
    for name in words:
        if class_name(name) not in keys:
            raise ConfigError(
                f"words names a class that is not there: {name!r}. "
                f"{did_you_mean(name, class_names)}"
            )
    result = tuple(chosen.get(key, DEFAULT_WORDS.get(key, key)) for key in keys)
    if len(set(result)) != len(result):
        raise ConfigError(
            f"Two classes have one word, so one of them could never be predicted: "
            f"{', '.join(result)}. Give each its own word in words."
        )
    return result


def nearest_words(
    model: keras.Model,
    images: Any,
    k: int = 5,
    *,
    vectors: str = "",
    words: Sequence[str] | None = None,
) -> list[list[tuple[str, float]]]:
    """What a picture looks like in words: the nearest of many, not only those of the classes.

    Args:
        model: A `Word2Vec` method, or its network, also after saving and loading.
        images: Raw pixels 0..255, `(n, height, width, channels)`.
        k: How many words, at least 1.
        vectors: The word-vector file of the training; empty for the shipped slice.
        words: The words to choose from; None for all the shipped emotion words that are in the
            file. Those that the file lacks are left out.

    Returns:
        For every picture the `k` nearest words (fewer if there are not so many) with their cosines,
        the nearest first.

    Raises:
        ConfigError: The network was not trained towards these word vectors, or none of the words
            is in the file.
        DataError: The word-vector file cannot be read.
    """
    if k < 1:
        raise ConfigError(f"Expected k >= 1, received k={k}.")
    network = model.network if isinstance(model, Method) else model
    tables = [layer for layer in network.layers if isinstance(layer, ClassVectors)]
    if len(tables) != 1:
        raise ConfigError(f"Network {network.name!r} was not built by the method word2vec.")
    table = tables[0]
    trained = np.asarray(ops.convert_to_numpy(table.vectors))
    class_vectors = _unit(load_word_vectors(vectors, table.words))
    if (
        table.space in ("random", "valence_arousal")
        or class_vectors.shape != trained.shape
        or not np.allclose(_class_vectors(class_vectors, table.space, 0), trained, atol=1e-5)
    ):
        raise ConfigError(
            f"Network {network.name!r} was trained towards {table.space} vectors "
            f"{trained.shape} that are not those of the file. Give the word-vector file it was "
            f"trained with. Received: {vectors or 'the shipped vectors'}"
        )
    candidates = find_word_vectors(vectors, vocabulary() if words is None else words)
    # Centred classes live in a space moved by their mean; the words are moved with them.
    origin = class_vectors.mean(axis=0) if table.space == "centred" else np.float32(0)
    placed = {word: _unit(vector[None])[0] - origin for word, vector in candidates.items()}
    if not placed:
        raise ConfigError("None of the words is in the word-vector file.")
    keyed = keyed_vectors(placed)
    encoder = keras.Model(network.input, network.output["embedding"])
    embeddings = np.asarray(encoder.predict(images, verbose=0))
    return [
        [(word, float(cosine)) for word, cosine in keyed.similar_by_vector(row, topn=k)]
        for row in embeddings
    ]


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _on_half_sphere(class_names: Sequence[str]) -> FloatArray:
    unknown = [name for name in class_names if class_name(name) not in VALENCE_AROUSAL]
    if unknown:
        raise ConfigError(
            f"valence_arousal knows {', '.join(VALENCE_AROUSAL)}. Received: {', '.join(unknown)}."
        )
    flat = np.array([VALENCE_AROUSAL[class_name(name)] for name in class_names])
    height = np.sqrt(1 - (flat**2).sum(axis=1, keepdims=True))
    return np.concatenate([flat, height], axis=1).astype(np.float32)


def _class_vectors(word_vectors: FloatArray, space: str, seed: int) -> FloatArray:
    """The unit vectors to train towards, `(classes, d)`, from those of the words."""
    classes, dimensions = word_vectors.shape
    if space == "word":
        return word_vectors
    if space == "centred":
        return _unit(word_vectors - word_vectors.mean(axis=0))
    if classes > dimensions:
        raise ConfigError(
            f"{classes} orthonormal vectors need {classes} dimensions, received {dimensions}."
        )
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dimensions, classes)))
    orthonormal: FloatArray = np.ascontiguousarray(basis.T, dtype=np.float32)
    return orthonormal
