"""What word vectors say about a classifier: dear and cheap mistakes, words of faces, compounds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.labels import canonical
from fer_keras.common.metrics import wilson_interval
from fer_keras.loading.keras_files import load_network
from fer_keras.methods.word_vectors import find_word_vectors, vocabulary
from fer_keras.reporting.tables import read_csv

FloatArray = npt.NDArray[np.floating[Any]]

# The shipped words stand in families: each begins with its own name, the last of no class.
_FAMILY_STARTS = {
    "neutral": "neutral", "anger": "anger", "contempt": "contempt", "disgust": "disgust",
    "fear": "fear", "happiness": "happiness", "sadness": "sadness", "surprise": "surprise",
    "embarrassed": "",
}  # fmt: skip


@dataclass(frozen=True)
class Mistakes:
    """How far a classifier's answers are from the truth, in words.

    Attributes:
        error: Mean cosine distance of predicted and true word over all pictures, 0..2.
        of_mistakes: The same over the mistakes alone; NaN where there is none.
        at_random: What it would be if each mistake fell on any other class with equal chance.
    """

    error: float
    of_mistakes: float
    at_random: float


def mistakes(
    predictions: Path, class_names: Sequence[str], word_similarities: FloatArray
) -> Mistakes:
    """Reads them from the predictions of a run.

    Args:
        predictions: A `predictions_SPLIT.csv`.
        class_names: In the order of the similarities.
        word_similarities: `(classes, classes)` cosines of the class words.
    """
    lines = read_csv(predictions)
    index = {name: i for i, name in enumerate(class_names)}
    true = np.array([index[line["true"]] for line in lines])
    predicted = np.array([index[line["predicted"]] for line in lines])
    distances = 1.0 - np.asarray(word_similarities, np.float64)
    np.fill_diagonal(distances, 0.0)
    wrong = true != predicted
    costs = distances[true, predicted]
    elsewhere = distances.sum(axis=1) / (len(class_names) - 1)
    if not wrong.any():
        return Mistakes(0.0, float("nan"), float("nan"))
    return Mistakes(
        float(costs.mean()), float(costs[wrong].mean()), float(elsewhere[true[wrong]].mean())
    )


def word_families() -> dict[str, str]:
    """Each shipped word and the emotion of its family; empty for those of no class."""
    families, current = {}, ""
    for word in vocabulary():
        current = _FAMILY_STARTS.get(word, current)
        families[word] = current
    return families


@dataclass(frozen=True)
class OpenWords:
    """The nearest of all emotion words, for every picture.

    Attributes:
        in_family: Share of the pictures whose nearest word is in the family of their emotion.
        interval: Its 95 % Wilson interval.
        chance: The share if every word were as likely.
        n: Number of pictures.
        by_class: Class -> its most frequent nearest words with their shares.
    """

    in_family: float
    interval: tuple[float, float]
    chance: float
    n: int
    by_class: Mapping[str, Sequence[tuple[str, float]]]


def open_words(
    run_dir: Path, images: Any, labels: Sequence[str], vectors: str, top: int = 4
) -> OpenWords:
    """Reads faces in words that no class has.

    Args:
        run_dir: A run of the method word2vec towards word or centred vectors.
        images: uint8 `(n, height, width, channels)`.
        labels: The true emotion of each.
        vectors: The word-vector file of the training; empty for the shipped slice.
        top: How many words of each class to name.

    Returns:
        What was read.
    """
    from fer_keras.methods.word2vec import nearest_words

    network, _ = load_network(run_dir / "best.keras")
    found = [row[0][0] for row in nearest_words(network, images, 1, vectors=vectors)]
    families = word_families()
    known = find_word_vectors(vectors, list(families))
    sizes = Counter(families[word] for word in known)
    emotions = [canonical(label) for label in labels]
    hits = sum(families[word] == emotion for word, emotion in zip(found, emotions, strict=True))
    by_class = {}
    for label in dict.fromkeys(labels):
        words = [word for word, own in zip(found, labels, strict=True) if own == label]
        counts = Counter(words).most_common(top)
        by_class[label] = [(word, count / len(words)) for word, count in counts]
    n = len(found)
    chance = float(np.mean([sizes[emotion] / len(known) for emotion in emotions]))
    return OpenWords(hits / n, wilson_interval(hits, n), chance, n, by_class)


@dataclass(frozen=True)
class CompoundScores:
    """How often both parts of a compound expression are named.

    Attributes:
        both: Share of the faces whose two best classes are the two parts.
        nearest: Share whose nearest compound of those that were drawn is the right one.
        either: Share whose best class is one of the parts.
        n: Number of faces.
        chances: Of the three, for an answer at random.
        per_compound: Of `nearest`, in the order of the compounds.
    """

    both: float
    nearest: float
    either: float
    n: int
    chances: tuple[float, float, float]
    per_compound: tuple[float, ...]


def compound_scores(
    scores: FloatArray,
    class_names: Sequence[str],
    parts: Sequence[tuple[str, str]],
    class_vectors: FloatArray | None = None,
) -> CompoundScores:
    """Scores the answers to compound faces.

    Args:
        scores: `(n, classes)`, logits or cosines.
        class_names: In the order of the columns.
        parts: The two emotions of every face.
        class_vectors: `(classes, d)` unit vectors; the nearest compound is then the one whose
            direction, the sum of its two vectors, is nearest. None for the largest sum of scores.

    Returns:
        The shares.
    """
    index = {canonical(name): i for i, name in enumerate(class_names)}
    pairs = list(dict.fromkeys(parts))
    columns = np.array([[index[first], index[second]] for first, second in pairs])
    summed = scores[:, columns].sum(axis=2)
    if class_vectors is not None:
        # The cosine with a sum of unit vectors, but for the length of the embedding, which is 1.
        summed = summed / np.linalg.norm(class_vectors[columns].sum(axis=1), axis=1)
    true = np.array([pairs.index(pair) for pair in parts])
    order = np.argsort(-scores, axis=1)
    wanted = np.sort(columns[true], axis=1)
    both = (np.sort(order[:, :2], axis=1) == wanted).all(axis=1)
    either = (order[:, :1] == wanted).any(axis=1)
    nearest = summed.argmax(axis=1) == true
    num_classes = len(class_names)
    chances = (1 / len(list(combinations(range(num_classes), 2))), 1 / len(pairs), 2 / num_classes)
    return CompoundScores(
        float(both.mean()), float(nearest.mean()), float(either.mean()), len(parts), chances,
        tuple(float(nearest[true == pair].mean()) for pair in range(len(pairs))),
    )  # fmt: skip
