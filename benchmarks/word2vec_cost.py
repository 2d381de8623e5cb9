"""What the losses of the word2vec experiments cost or gain, from the predictions of finished runs.

python benchmarks/word2vec_cost.py runs/cross_entropy-seed0 runs/word2vec-seed0 ...

Prints accuracy, balanced accuracy, calibration and the semantic error of every run (mean cosine
distance between the vectors of the predicted and the true word, over all pictures and over the
mistakes), and an exact McNemar test for every two runs on the same pictures.
"""

import argparse
import csv
import itertools
import json
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from fer_keras.methods.word2vec import words_of_classes
from fer_keras.methods.word_vectors import load_word_vectors


def _distances(class_names: list[str]) -> np.ndarray:
    vectors = load_word_vectors(None, words_of_classes(class_names))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(1 - vectors @ vectors.T)


def main() -> None:
    """Prints the tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    correct = {}
    print("| run | accuracy | balanced | ECE | ECE after T | semantic error | of the mistakes |")
    print("|---|---|---|---|---|---|---|")
    for run in parser.parse_args().runs:
        result = json.loads((run / "result.json").read_text("utf-8"))
        counts = np.array(result["confusion_matrix"])
        distances = _distances(result["class_names"])
        wrong = counts * (1 - np.eye(len(counts)))
        figures = (
            result["accuracy"],
            result["balanced_accuracy"],
            result["ece"],
            result["calibrated"]["ece"],
            (counts * distances).sum() / counts.sum(),
            (wrong * distances).sum() / wrong.sum(),
        )
        print(f"| {result['experiment']} | {' | '.join(f'{figure:.4f}' for figure in figures)} |")
        with (run / "predictions_validation.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        correct[result["experiment"]] = np.array([r["true"] == r["predicted"] for r in rows])
    print("\n| first | second | only first right | only second right | McNemar p |")
    print("|---|---|---|---|---|")
    for one, other in itertools.combinations(correct, 2):
        first = int((correct[one] & ~correct[other]).sum())
        second = int((~correct[one] & correct[other]).sum())
        p = binomtest(first, first + second).pvalue if first + second else 1.0
        print(f"| {one} | {other} | {first} | {second} | {p:.3f} |")


if __name__ == "__main__":
    main()
