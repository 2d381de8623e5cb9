"""Faces as words: losses and vectors of the method word2vec against cross-entropy.

Trains every loss towards every kind of class vectors (the words', the words' centred, random
orthonormal ones as a control, valence and arousal), cross-entropy as the baseline, and the loss of
the first write-up, which takes the absolute value of the cosine and so turns the embedding away
from its word. A mistake costs the cosine distance of the predicted and the true word, whatever a
row was trained towards. Then faces are read in all emotion words, not only those of the classes;
and drawn faces that show two emotions at once (happily surprised) are given to networks trained on
drawn faces of one emotion: are both named?

examples:
  python -m fer_keras.study word2vec
  python -m fer_keras.study word2vec --epochs 3
  python -m fer_keras.study word2vec --losses cosine --vectors word random --seeds 0 1 2
  python -m fer_keras.study word2vec --word-vectors GoogleNews-vectors-negative300.bin
  python -m fer_keras.study word2vec --dataset synthetic_faces --epochs 8

files:
  word2vec.md, .csv      a row for every loss and kind of vectors
  word2vec.png           accuracy with its interval
  word2vec_mistakes.png  what a mistake costs in words
  word2vec_cosines.png   cosines of the class vectors of every kind
  word2vec_failure.png   cosine with the true word, by the loss and by its absolute value
  word2vec_compounds.png shares of compound faces that were named; word2vec_compound_faces.png
  ROW-seedN/             the run folder of every training; compounds_... on drawn faces
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.labels import EMOTIONS
from fer_keras.config import load_experiment
from fer_keras.evaluation.run_data import run_samples
from fer_keras.loading.keras_files import load_network
from fer_keras.reporting.plots import plot_pictures
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import (
    Outcomes,
    add_series_arguments,
    parent_run,
    shared_changes,
    train_series,
)
from fer_keras.studies.shared.trained_rows import Outcome, Row
from fer_keras.studies.word2vec.report import Findings, write_report
from fer_keras.studies.word2vec.semantics import (
    CompoundScores,
    OpenWords,
    compound_scores,
    mistakes,
    open_words,
)

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.studies.word2vec.compound_faces import CompoundFaces

_LOSSES = ("cosine", "cosine_softmax", "similarity_smoothing")
_VECTORS = {
    "word": (),
    "centred": ("method.options.centred=true",),
    "random": ("method.options.random=true",),
    "valence_arousal": ("method.options.valence_arousal=true",),
}
_SHOWN_FACES = 5
BASELINE, FAILURE = "cross_entropy", "absolute_cosine word"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_series_arguments(parser, "word2vec", "fer2013")
    add = parser.add_argument
    add("--losses", nargs="+", choices=_LOSSES, default=list(_LOSSES), help="default: all")
    add("--vectors", nargs="+", choices=tuple(_VECTORS), default=list(_VECTORS), help="as losses")
    add("--word-vectors", default="", metavar="FILE", help="default: the shipped GloVe vectors")
    add(
        "--open-faces", type=int, default=1000, metavar="N",
        help="read so many faces in all emotion words (1000; 0 = none)",
    )  # fmt: skip
    add(
        "--compound-faces", type=int, default=50, metavar="N",
        help="draw so many faces of each compound (50; 0 = none, and no training for them)",
    )  # fmt: skip
    add(
        "--compound-epochs", type=int, default=12, metavar="N",
        help="passes of the trainings on drawn faces (12)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The tables, as Markdown.

    Raises:
        FerKerasError: The data set or the word vectors are missing, or a training failed.
    """
    folder = output_folder(arguments, "word2vec")
    with parent_run("word2vec", folder, arguments) as tracker:
        outcomes = train_series(rows(arguments), folder, arguments, tracker)
        samples, _ = run_samples(outcomes[BASELINE][0].run_dir, arguments.split)
        tables = class_tables(samples.class_names, arguments.vectors, arguments.word_vectors)
        findings = Findings(
            outcomes,
            samples.class_names,
            tables,
            {
                name: mistakes(
                    row[0].run_dir / f"predictions_{arguments.split}.csv",
                    samples.class_names,
                    tables["word"] @ tables["word"].T,
                )
                for name, row in outcomes.items()
            },
            {
                name: true_cosines(row[0], samples)
                for name, row in outcomes.items()
                if name != BASELINE
            },
            _open_words(outcomes, samples, arguments),
            _compounds(folder, arguments, tracker),
        )
        return write_report(folder, findings)


def rows(arguments: argparse.Namespace) -> dict[str, Row]:
    """What is trained.

    Args:
        arguments: Parsed options.

    Returns:
        `LOSS VECTORS` -> row; the baseline first, the failure last.
    """
    changes = shared_changes(arguments)
    words = (f"method.options.vectors={arguments.word_vectors}",) if arguments.word_vectors else ()
    made = {BASELINE: Row("cross-entropy", "cross_entropy", changes)}
    chosen = [(loss, kind) for loss in arguments.losses for kind in arguments.vectors]
    for loss, kind in [*chosen, ("absolute_cosine", "word")]:
        own = (f"method.options.loss={loss}", *words, *_VECTORS[kind])
        label = f"{loss.replace('_', ' ')}, {kind.replace('_', ' ')}"
        made[f"{loss} {kind}"] = Row(label, "word2vec", (*changes, *own))
    return made


def class_tables(
    class_names: Sequence[str], kinds: Sequence[str], vectors: str
) -> dict[str, npt.NDArray[np.float32]]:
    """The class vectors of every kind, `(classes, d)` with rows of length 1.

    Args:
        class_names: In the order of the rows.
        kinds: Of `--vectors`; `word` is always there.
        vectors: Word-vector file; empty for the shipped slice.
    """
    from fer_keras.methods.word2vec import space_vectors

    return {
        kind: space_vectors(kind, class_names, vectors) for kind in dict.fromkeys(("word", *kinds))
    }


def true_cosines(outcome: Outcome, samples: "Samples") -> npt.NDArray[np.float32]:
    """The cosine of each face with the vector that its class was trained towards, `(n,)`."""
    cosines, _ = _answers(outcome, samples.images)
    found: npt.NDArray[np.float32] = cosines[np.arange(len(samples)), samples.labels]
    return found


def _answers(
    outcome: Outcome, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Cosines and class vectors of a word2vec network; logits and None of any other."""
    import keras

    from fer_keras.models.layers import ClassVectors

    network, _ = load_network(outcome.run_dir / "best.keras")
    tables = [layer for layer in network.layers if isinstance(layer, ClassVectors)]
    output = network.output["cosines" if tables else "logits"]
    answers = keras.Model(network.input, output).predict(
        np.asarray(images), batch_size=64, verbose=0
    )
    table = np.asarray(keras.ops.convert_to_numpy(tables[0].vectors)) if tables else None
    keras.utils.clear_session()
    return np.asarray(answers, np.float32), table


def _open_words(
    outcomes: Mapping[str, Outcomes], samples: "Samples", arguments: argparse.Namespace
) -> dict[str, OpenWords]:
    if not arguments.open_faces:
        return {}
    count = min(arguments.open_faces, len(samples))
    chosen = samples.take(np.linspace(0, len(samples) - 1, count).round().astype(np.int64))
    pictures = np.asarray(chosen.images)
    labels = [chosen.class_names[label] for label in chosen.labels]
    return {
        name: open_words(row[0].run_dir, pictures, labels, arguments.word_vectors)
        for name, row in outcomes.items()
        if name not in (BASELINE, FAILURE) and name.split()[1] in ("word", "centred")
    }


def _compounds(
    folder: Path, arguments: argparse.Namespace, tracker: Any
) -> dict[str, CompoundScores]:
    """Networks that know drawn faces of one emotion, asked about faces of two."""
    from fer_keras.studies.word2vec.compound_faces import draw_compounds

    if not arguments.compound_faces:
        return {}
    drawn = argparse.Namespace(**vars(arguments))
    drawn.dataset, drawn.source, drawn.losses = "synthetic_faces", None, ["cosine"]
    drawn.epochs, drawn.seeds = arguments.compound_epochs, arguments.seeds[:1]
    wanted = {f"compounds {name}": row for name, row in rows(drawn).items() if name != FAILURE}
    outcomes = train_series(wanted, folder, drawn, tracker)
    first = next(iter(outcomes.values()))[0]
    data = load_experiment(str(first.run_dir)).dataset
    faces = draw_compounds(arguments.compound_faces, size=data.image_size, channels=data.channels)
    scores = {}
    for row in outcomes.values():
        answers, table = _answers(row[0], faces.images)
        label = row[0].row.label
        scores[label] = compound_scores(answers, EMOTIONS, faces.parts, table)
        if len(scores) == 2:  # After the baseline: the first one of words.
            _draw_compounds(folder / "word2vec_compound_faces.png", faces, answers, label)
    return scores


def _draw_compounds(
    path: Path, faces: "CompoundFaces", answers: npt.NDArray[np.float32], label: str
) -> None:
    """Faces of every compound with the two best classes under them."""
    from fer_keras.studies.word2vec.compound_faces import COMPOUNDS

    rows_of = {pair: [i for i, own in enumerate(faces.parts) if own == pair] for pair in COMPOUNDS}
    best = np.argsort(-answers, axis=1)[:, :2]
    sheet = [
        (
            name,
            [faces.images[i] for i in rows_of[pair][:_SHOWN_FACES]],
            [" + ".join(EMOTIONS[c] for c in best[i]) for i in rows_of[pair][:_SHOWN_FACES]],
        )
        for pair, name in COMPOUNDS.items()
    ]
    plot_pictures(sheet, path, title=f"Drawn faces of two emotions, and the top 2 of: {label}")
