"""What the attention heads of trained `ddamfn` networks do to the answer.

python benchmarks/attention_heads.py runs/ferplus_ddamfn_small-seed0 ...

For each run, on its validation split: the mean squared difference of two heads' maps, which the
attention loss pushes up; how much a head's map varies over the places of a picture and over the
pictures (standard deviations, mean over heads and channels; a map is 0..1); the share of places and
channels where the strongest head is above 0.9; and the accuracy with the strongest head and with
ones in its place, which leave the map of the backbone as it is.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_keras.evaluation.run_data import run_samples
from fer_keras.loading.keras_files import load_network

_AFTER_ATTENTION = ("pool", "pool_bn", "embedding", "logits")


def _tail(network: Any) -> Any:
    """From the map behind the attention to the logits."""
    features = keras.Input(network.output["features"].shape[1:])
    x = features
    for name in _AFTER_ATTENTION:
        x = network.get_layer(name)(x)
    return keras.Model(features, x)


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    header = (
        "run", "n", "difference", "over places", "over pictures", "strongest > 0.9", "accuracy",
        "without attention", "same answers",
    )  # fmt: skip
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for run in parser.parse_args().runs:
        samples, _ = run_samples(run, "validation")
        network, _ = load_network(run / "best.keras")
        found = network.predict(np.asarray(samples.images, np.float32), batch_size=64, verbose=0)
        heads = found["attention"]
        pairs = itertools.combinations(range(heads.shape[1]), 2)
        difference = np.mean([np.square(heads[:, i] - heads[:, k]).mean() for i, k in pairs])
        truth = samples.targets.argmax(axis=1)
        answers = found["logits"].argmax(axis=1)
        bare = (
            _tail(network).predict(found["mfn_features"], batch_size=64, verbose=0).argmax(axis=1)
        )
        figures = (
            f"{len(samples):,}",
            f"{difference:.3f}",
            f"{heads.std(axis=(2, 3)).mean():.4f}",
            f"{heads.std(axis=0).mean():.4f}",
            f"{(heads.max(axis=1) > 0.9).mean():.1%}",
            f"{(answers == truth).mean():.4f}",
            f"{(bare == truth).mean():.4f}",
            f"{(bare == answers).mean():.1%}",
        )
        print(f"| `{run.name}` | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
