"""Evaluates a model by an honest protocol: `python -m fer_keras.evaluate RUN|MODEL`.

Labels are joined by name. The test split is read only when it is asked for. Every accuracy stands
with n, the label rule, its 95 % Wilson interval, and the accuracy without the images whose exact
pixels also occur in the training split.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_keras.common.arguments import add_published_arguments, check_published_arguments, words
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import TRAINING, require_keras
from fer_keras.common.prior import parse_prior
from fer_keras.common.progress import progress
from fer_keras.common.quiet import load_keras
from fer_keras.config import load_experiment
from fer_keras.evaluation.summary import report

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.loading.classifier import LoadedModel

_EXAMPLES = """examples:
  python -m fer_keras.evaluate runs/word2vec-seed0            the run's own validation split
  python -m fer_keras.evaluate runs/word2vec-seed0 --split test
  python -m fer_keras.evaluate runs/word2vec-seed0 --dataset ferplus --label-rule majority
  python -m fer_keras.evaluate runs/word2vec-seed0/export --precision int8
  python -m fer_keras.evaluate saved_models/ferplus --precision int8 --prior balanced:0.25
  python -m fer_keras.evaluate saved_models/ferplus --labels happiness,neutral,anger
  python -m fer_keras.evaluate saved_models/ferplus --dataset folder --source mine --estimate-prior
  python -m fer_keras.evaluate runs/fer2013_vgg19-seed0 --split test --ten-crop 48
  python -m fer_keras.evaluate ddamfn.pth --network ddamfn --labels rafdb --dataset rafdb
  python -m fer_keras.evaluate best.keras --dataset fer2013 --source fer2013.csv --output results

Written to the run folder, or to a folder of its own beside any other model:
  result.json (result_test.json), predictions_SPLIT.csv, confusion_matrix_SPLIT.png,
  reliability_SPLIT.png
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.evaluate",
        description="Accuracy with its interval, per-class scores, calibration and predictions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        type=Path,
        help="run folder, .keras, .tflite or export folder; with --network its authors' file",
    )
    add_published_arguments(
        parser,
        labels_of_others="of another model: only the pictures of these labels, and only these "
        "labels as answers",
    )
    parser.add_argument("--dataset", help="default: that of the run or of the export's manifest")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation", help="default: validation"
    )
    parser.add_argument("--label-rule", help="how votes become labels; default: that of the run")
    parser.add_argument("--source", type=Path, help="file or folder of the data set")
    parser.add_argument(
        "--neutral",
        choices=("auto", "same_subject", "random_neutral", "mean_neutral"),
        help="which neutral face a model of pairs gets; default: as in its training",
    )
    parser.add_argument(
        "--precision",
        help="float32, float16, dynamic, int8: of an export (default: float32, or what users run)",
    )
    parser.add_argument(
        "--ten-crop",
        type=int,
        metavar="SIDE",
        help="load the pictures in this size and average the logits over ten crops of the model's "
        "size; no .tflite",
    )
    parser.add_argument(
        "--prior",
        nargs="+",
        metavar="PRIOR",
        help="answer as if the classes were so frequent: training (the model as it is), "
        "balanced:TAU, uniform, or shares such as happiness=0.3 neutral=0.6 (docs/prior.md); "
        "default: the default_prior of an export's manifest, otherwise training",
    )
    parser.add_argument(
        "--estimate-prior",
        action="store_true",
        help="also say how frequent the classes are among these pictures by the answers alone, "
        "without their labels (EM), for --prior",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of a .tflite model")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the results go")
    parser.add_argument("--overwrite", action="store_true", help="replace results of another model")
    arguments = parser.parse_args(argv)
    check_published_arguments(arguments, labels_of_others=True)
    require_keras("python -m fer_keras.evaluate", *TRAINING)
    load_keras()
    # Only now, so that --help is answered at once.
    from fer_keras.evaluation.evaluate import default_prior, evaluate, keep_labels
    from fer_keras.evaluation.run_data import requested_samples
    from fer_keras.loading.load import load_model, load_published

    path: Path = arguments.model
    chosen = None if arguments.prior is None else parse_prior(arguments.prior)
    if arguments.network:
        model = load_published(path, arguments.network, arguments.labels, arguments.decision)
    else:
        model = load_model(path, precision=arguments.precision, threads=arguments.threads)
    prior = default_prior(model) if chosen is None else chosen
    received = {"image": "single pictures", "pair": "pairs", "clip": "clips"}[model.input_kind]
    if model.input_kind != "image" and arguments.ten_crop is not None:
        raise ConfigError(
            f"--ten-crop: expected a model of single pictures. Received one of {received}."
        )
    if model.input_kind != "pair" and arguments.neutral:
        raise ConfigError(f"--neutral: expected a model of pairs. Received one of {received}.")
    if arguments.ten_crop is not None and arguments.ten_crop < max(model.image_shape[:2]):
        raise ConfigError(
            "--ten-crop: expected pictures of at least the model's size, "
            f"{max(model.image_shape[:2])} pixels. Received: {arguments.ten_crop}."
        )
    samples, train = requested_samples(arguments, model)
    kept = [] if arguments.network else words([arguments.labels])
    if kept:
        samples = keep_labels(samples, kept)
    is_run = (path / "experiment.json").is_file()
    folder = arguments.output or _default_output(path, model, samples, is_run)
    if arguments.ten_crop and not arguments.output:
        folder = folder / f"ten_crop_{arguments.ten_crop}"
    if not prior.is_training and not arguments.output:
        folder = folder / f"prior_{re.sub('[^a-z0-9.]+', '_', str(prior).lower())}"
    if kept and not arguments.output:
        folder = folder / f"labels_{'_'.join(samples.class_names)}"
    with progress("evaluating"):
        figures = evaluate(
            model,
            samples,
            train_samples=train,
            output_dir=folder,
            overwrite=arguments.overwrite,
            ten_crop=bool(arguments.ten_crop),
            prior=prior,
            estimate=arguments.estimate_prior,
        )
    print(report(figures))
    print(f"\nwritten to {folder}")
    return 0


def _default_output(path: Path, model: "LoadedModel", samples: "Samples", is_run: bool) -> Path:
    """The run folder for the run's own data, otherwise a folder that says what it is."""
    if is_run:
        config = load_experiment(str(path / "experiment.json")).dataset
        rule = config.eval_label_rule or samples.label_rule
        if (samples.name, samples.label_rule) == (config.name, rule):
            return path
        return path / f"evaluation_{samples.name}_{samples.label_rule}"
    file = model.path
    # An export folder is replaced as a whole by the next export: results stay outside it.
    exported = file.with_name("manifest.json").is_file()
    parent = file.parent.parent if exported else file.parent
    stem = f"{file.parent.name}_{file.stem}" if exported else file.stem
    return parent / f"evaluation_{stem}_{samples.name}"


if __name__ == "__main__":
    run_command(main)
