"""An experiment as data: frozen dataclasses, typed overrides, JSON round trip.

An experiment file (`experiments/NAME.py`, or a file of your own) holds one module
attribute `experiment` and states only what differs from the defaults below, or by `based_on` from
another experiment. No TensorFlow here.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from fer_keras.common.constraints import (
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Range,
    Rate,
    Share,
    check,
    without_constraints,
)
from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.plugins import docstring, find_plugins, first_line


@dataclass(frozen=True)
class DatasetConfig:
    """What is trained on, and how its labels are made.

    Attributes:
        name: A data set of `python -m fer_keras.data list`.
        source: Its file or folder; empty = looked for under `FER_KERAS_DATA`.
        label_rule: How training labels are made: `hard`, or for annotator votes `majority`,
            `probability`, `crossentropy`, `multi_target`, `distribution`; empty = the data set's
            default.
        eval_label_rule: The same for validation and test; empty = the data set's default, which
            is `majority` for votes (Barsoum et al. 2016 validate on it whatever they train with).
        image_size: Side of the square network input in pixels.
        channels: 1 = grey, 3 = RGB.
        enlarge: How pictures grow that are smaller: `cubic`, or `linear` as in most programs on
            PyTorch. Those that are larger are averaged over areas.
        without_duplicates: Leave out training images whose exact pixels also occur in a held-out
            split.
        validation_fraction: Share of train that becomes validation where a data set has none.
        split: `official` (a missing validation split is cut from train); `subjects`, all pictures
            70/20/10 with no person in two parts; `folds`, fold number `fold` of `folds` for test
            and the next one for validation; `leave_one_subject_out`, subject number `fold`;
            `held_out`, half of the validation split for training and the other half for
            validation, for what is fitted on top of trained networks.
        folds: Number of subject-disjoint folds.
        folds_by: How people come into folds: `classes`, so that every fold has like shares of the
            classes; `order`, one after the other in the order of their names, as ESR does on CK+.
        fold: Which one is tested; -1 = every one in turn, a cross-validation.
        label_noise: Share of the training labels that is replaced by another class, for studies.
        label_list: A file with other labels for training, such as published noise: a line for each
            training picture, its name and the data set's code of a class.
        oversample_to: Classes with fewer training images are repeated up to so many an epoch, every
            repetition augmented anew (0 = off).
        per_class: At most so many training images of each class, drawn by chance (0 = all).
        per_quadrant: At most so many training images of each quadrant of the plane of valence and
            arousal, drawn by chance, and none without them (0 = all).
        per_class_seed: Another seed draws others; every stage of a growth has its own.
        sample: Of a data set that is divided by person, use only so many images, spread evenly,
            before it is divided (0 = all).
        limit: Use only so many training images, spread evenly (0 = all), for quick trials.
        neutral: The neutral face that stands beside every picture, for networks that read pairs:
            `same_subject`, another picture of the same person; `random_neutral`, one of train;
            `mean_neutral`, the mean of those of train; `auto`, of the same person where there is
            one and a random one of train elsewhere; `same_session`, of the built-in faces alone,
            the person in the same pose and light; `none`, no pairs.
        neutral_seed: Another seed draws other neutral faces.
        clip_frames: For networks that read clips: frames of a clip, 3 or more, of a data set with
            sequences; 0 = single pictures. Shorter sequences are padded with black frames.
        clip_sampling: `uniform`, one clip a sequence with frames from its first to its last;
            `last`, its last frames; `windows`, every window of so many frames.
        fallback_for: The data set in whose place this one stands; set by the training command.
    """

    name: str = "fer2013"
    source: str = ""
    label_rule: str = ""
    eval_label_rule: str = ""
    image_size: Annotated[int, Range(low=8)] = 48
    channels: Literal[1, 3] = 1
    enlarge: Literal["cubic", "linear"] = "cubic"
    without_duplicates: bool = False
    validation_fraction: Rate = 0.1
    split: Literal["official", "subjects", "folds", "leave_one_subject_out", "held_out"] = (
        "official"
    )
    folds: Annotated[int, Range(low=3)] = 10
    folds_by: Literal["classes", "order"] = "classes"
    fold: Annotated[int, Range(low=-1)] = 0
    label_noise: Rate = 0.0
    label_list: str = ""
    oversample_to: CountOrZero = 0
    per_class: CountOrZero = 0
    per_quadrant: CountOrZero = 0
    per_class_seed: CountOrZero = 0
    sample: CountOrZero = 0
    limit: CountOrZero = 0
    neutral: Literal[
        "none", "auto", "same_subject", "same_session", "random_neutral", "mean_neutral"
    ] = "none"
    neutral_seed: CountOrZero = 0
    clip_frames: CountOrZero = 0
    clip_sampling: Literal["uniform", "last", "windows"] = "uniform"
    fallback_for: str = ""

    @property
    def every_fold(self) -> bool:
        """Whether this is a cross-validation: every fold in turn."""
        return self.fold < 0 and self.split in ("folds", "leave_one_subject_out")


@dataclass(frozen=True)
class NetworkConfig:
    """The network: a file of `fer_keras/models`, the options of its `build`, and where it starts.

    Attributes:
        name: The file; `as_weights` = the network of `weights` as it is, with a classifier for the
            classes of the data set. Its input size becomes `dataset.image_size` and `channels`.
        options: Keyword-only parameters of its `build`.
        weights: A trained network to start from: a `.keras` file, a run folder, a shipped model,
            or an experiment, which is trained first where there is no finished run of it; for
            `ddamfn` also a file of its backbone's weights (docs/ddamfn.md); empty = fresh weights.
        keep_start: Share of the starting weights in the kept ones, which are a mean of both
            (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022): what the
            network could do before, and most of what it learned. 0 keeps the trained weights.
    """

    name: str = "compact"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    keep_start: Share = 0.0


@dataclass(frozen=True)
class MethodConfig:
    """How it is trained: a file of `fer_keras/methods` and the options of its `build`."""

    name: str = "cross_entropy"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        head_epochs: First so many epochs train the classifiers alone, the layers called `logits`;
            for networks that start from trained weights.
        optimizer: `sgd` (with `momentum`, `nesterov`), `adam` or `adamw`.
        learning_rate: Peak learning rate.
        layer_rates: Pattern of layer names (`branch2_*`, `*`) -> factor of their learning rate; the
            last pattern that fits counts, and a layer that none fits has 1. Layers with 0 are
            frozen, their batch-norm statistics too.
        schedule: `constant`; `cosine` to zero; `step` (times `decay_rate` every `decay_epochs`);
            `exponential` (times `decay_rate` every epoch).
        warmup_epochs: Linear warm-up from zero, in epochs.
        weight_decay: Decoupled weight decay per step (Keras' meaning); biases and batch-norm
            parameters are left out.
        clip_norm: Global gradient norm limit (0 = none).
        clip_value: Element-wise gradient limit (0 = none).
        ema_momentum: Evaluate and keep a moving average of the weights, and of the statistics of
            batch norm, over the steps. This share of the average stays at every step, for instance
            0.999 (0 = off).
        sam_rho: Sharpness-aware minimisation (Foret et al. 2021) around any optimizer: the gradient
            is that of the weights with the highest loss within this radius, 0.05 in the paper; a
            step takes twice as long (0 = off).
        sam_statistics: `once`: the statistics of batch norm are those of the first pass, as the
            method's authors have it; `twice`: the second pass moves them once more, and draws its
            own dropout, as programs that call the network twice.
        class_weights: `balanced` weighs the loss of a class by the inverse of its frequency.
        sampling: `balanced` draws classes with equal chance instead of a plain shuffle; `blocks`
            shuffles megabytes at a time, for data sets that are larger than the memory.
        skip_learned: So large a share of the pictures is left out of each epoch, below 0.5: half of
            the twice as many whose loss was smallest so far, drawn anew for each epoch; the other
            half counts twice; see `fer_keras/training/learned.py` (0 = off).
        precision: `auto` is float32 on a CPU and mixed_float16 / mixed_bfloat16 on a GPU / TPU.
        jit_compile: `auto` uses XLA on a GPU or TPU only; on a CPU it is several times slower.
        early_stopping_patience: Epochs without a better `select_by` before stopping (0 = never).
        keep: Weights of which epoch: of the `best` by `select_by`, or of the `last`, for training
            that pays off on pictures that validation lacks, such as harmed ones.
        select_by: The validation figure that chooses the best epoch; never a test figure.
        cached_embeddings: For networks behind a frozen encoder: 0 encodes the pictures at every
            step; 1 or more encodes every training picture so many times before training, each time
            augmented anew, and trains on what comes out. Without augmentation 1 is exact.
        checkpoint_minutes: A checkpoint inside an epoch at least this often; there is always one
            at the end of an epoch.
        deterministic: Same seed, same weights, bit for bit.
    """

    epochs: Count = 40
    batch_size: Count = 64
    head_epochs: NotNegative = 0.0
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: NotNegative = 0.003
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    momentum: Rate = 0.9
    nesterov: bool = True
    schedule: Literal["constant", "cosine", "step", "exponential"] = "cosine"
    warmup_epochs: NotNegative = 1.0
    decay_epochs: Count = 10
    decay_rate: Positive = 0.1
    weight_decay: NotNegative = 0.15
    clip_norm: NotNegative = 0.0
    clip_value: NotNegative = 0.0
    ema_momentum: Rate = 0.0
    sam_rho: NotNegative = 0.0
    sam_statistics: Literal["once", "twice"] = "once"
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffle", "balanced", "blocks"] = "shuffle"
    skip_learned: Annotated[float, Range(low=0, below=0.5)] = 0.0
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    jit_compile: Literal["auto", "on", "off"] = "auto"
    early_stopping_patience: CountOrZero = 0
    keep: Literal["best", "last"] = "best"
    select_by: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    cached_embeddings: CountOrZero = 0
    checkpoint_minutes: NotNegative = 10.0
    deterministic: bool = True


@dataclass(frozen=True)
class GrowthConfig:
    """Training in stages, each with one branch more than the one before; see
    `fer_keras/training/stages/growth.py`.

    Attributes:
        first: Branches of the first stage, of `network.options.num_branches` in the last; 0 trains
            all branches at once.
        first_epochs: Epochs of the first stage; 0 = `training.epochs`, as in the others.
        old_rate: Factor of the learning rate of what earlier stages have trained; 0 freezes it.
        previous: Run folder of the stage before, from whose kept weights this one goes on; set by
            the training command.
    """

    first: CountOrZero = 0
    first_epochs: CountOrZero = 0
    old_rate: NotNegative = 1.0
    previous: str = ""


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run.

    Attributes:
        name: Name of the experiment; run names are `name-seedN`.
        dataset: Data set and label rules.
        augmentation: A policy of `fer_keras/data/augmentation/policies.py`.
        network: The network.
        method: The training method.
        training: The recipe.
        growth: Whether branches are added one after the other.
        seed: Seeds initial weights, order, augmentation and drop-out.
    """

    name: str
    dataset: DatasetConfig = DatasetConfig()
    augmentation: str = "none"
    network: NetworkConfig = NetworkConfig()
    method: MethodConfig = MethodConfig()
    training: TrainingConfig = TrainingConfig()
    growth: GrowthConfig = GrowthConfig()
    seed: CountOrZero = 0


def _check(value: Any, hint: Any, key: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that names `key`."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}: expected an object. Received: {value!r}.")
        return _from_mapping(hint, value, key)
    return check(value, hint, key)


def _from_mapping(cls: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    hints = get_type_hints(cls, include_extras=True)
    arguments = {}
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else name
        if name not in hints:
            raise ConfigError(f"Unknown key {key!r}. {did_you_mean(name, hints)}")
        arguments[name] = _check(value, hints[name], key)
    if cls is Experiment and "name" not in arguments:
        raise ConfigError("An experiment needs a name. Received none.")
    return cls(**arguments)


def _parse(text: str, hint: Any, key: str) -> Any:
    """The text of a `--set` as the type of its field."""
    bare = without_constraints(hint)
    if get_origin(bare) is Literal:
        by_text = {str(choice): choice for choice in get_args(hint)}
        return _check(by_text.get(text, text), hint, key)
    if bare is bool:
        spellings = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in spellings:
            raise ConfigError(f"{key}: expected true or false. Received: {text!r}.")
        return spellings[text.lower()]
    if bare in (int, float):
        try:
            return _check(bare(text), hint, key)
        except ValueError:
            raise ConfigError(f"{key}: expected {bare.__name__}. Received: {text!r}.") from None
    return text


def _option_value(text: str) -> Any:
    """An option of a network or method: JSON where it is JSON, else the text itself."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except json.JSONDecodeError:
        return text


def override(experiment: Experiment, assignments: Sequence[str]) -> Experiment:
    """Applies `part.field=value` assignments.

    Args:
        experiment: The experiment to start from; it is left as it is.
        assignments: For instance `["training.epochs=3", "method.options.scale=24", "seed=1"]`.
            A value is read by the type of its field; options of networks and methods as JSON, one
            by one, or all of them as a JSON object in the place of those that were there.

    Returns:
        A new experiment.

    Raises:
        ConfigError: An unknown key (the nearest known ones are listed) or a value of another type.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set expects part.field=value. Received: {assignment!r}.")
        experiment = _replace(experiment, key.strip().split("."), text.strip(), key.strip())
    return experiment


def _replace(part: Any, path: Sequence[str], text: str, key: str) -> Any:
    hints = get_type_hints(type(part), include_extras=True)
    name, rest = path[0], path[1:]
    if name not in hints:
        raise ConfigError(f"Unknown key {key!r}. {did_you_mean(key, all_keys())}")
    hint = hints[name]
    if dataclasses.is_dataclass(hint):
        if not rest:
            raise ConfigError(f"{key!r} is a group of keys. {did_you_mean(key, all_keys())}")
        value = _replace(getattr(part, name), rest, text, key)
    elif get_origin(hint) is Mapping:
        chosen = _option_value(text)
        if len(rest) > 1 or (not rest and not isinstance(chosen, dict)):
            raise ConfigError(
                f"Expected {name}.OPTION=value, or {name}= and a JSON object, such as "
                f"'{{\"OPTION\": 1}}', in place of all. Received: {key}={text}"
            )
        value = {**getattr(part, name), rest[0]: chosen} if rest else chosen
    elif rest:
        raise ConfigError(f"Unknown key {key!r}. {did_you_mean(key, all_keys())}")
    else:
        value = _parse(text, hint, key)
    return dataclasses.replace(part, **{name: value})


def all_keys() -> list[str]:
    """Every key that `--set` takes, options of networks and methods aside."""
    keys: list[str] = []
    for name, hint in get_type_hints(Experiment).items():
        if dataclasses.is_dataclass(hint):
            keys += [f"{name}.{inner}" for inner in get_type_hints(hint)]
        else:
            keys.append(name)
    return keys


def to_json(experiment: Experiment) -> str:
    """The experiment as JSON text that `from_json` reads back as an equal one."""
    return json.dumps(dataclasses.asdict(experiment), indent=2) + "\n"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `part.field` names.

    Args:
        values: A nested mapping.
        prefix: Put in front of every name.

    Returns:
        Leaf values by dotted name.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def from_json(text: str, path: str = "experiment.json") -> Experiment:
    """Reads what `to_json` wrote.

    Raises:
        ConfigError: Not JSON, an unknown key, or a value of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: expected JSON. Received: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected an object. Received: {type(values).__name__}.")
    experiment: Experiment = _from_mapping(Experiment, values)
    return experiment


def experiments_folder() -> Path:
    """Where the shipped experiments lie: inside the package of a wheel, else beside the package.

    Inside first: `site-packages` may hold a folder `experiments` of another project.
    """
    package = Path(__file__).parent
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def list_experiments() -> dict[str, str]:
    """Names of the shipped experiments and the first line of their docstrings."""
    found = find_plugins(experiments_folder(), "experiment")
    return {name: first_line(path) for name, path in found.items()}


def describe_experiment(name: str) -> str:
    """The docstring of a shipped experiment; empty for any other.

    Args:
        name: Of the experiment.
    """
    path = find_plugins(experiments_folder(), "experiment").get(name)
    return docstring(path) if path else ""


def load_experiment(name_or_path: str) -> Experiment:
    """Finds an experiment.

    Args:
        name_or_path: A shipped experiment's name, which comes before a folder of the same name; a
            path to a `.py` file with a module attribute `experiment`; a resolved
            `experiment.json`, or a run folder that holds one.

    Raises:
        ConfigError: No such experiment, or the file holds none.
    """
    shipped = find_plugins(experiments_folder(), "experiment")
    if name_or_path in shipped:
        return _experiment_of(_import_file(shipped[name_or_path]), name_or_path)
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "experiment.json"
    if path.suffix == ".json":
        if not path.is_file():
            raise ConfigError(f"No experiment at {path}. Expected a run folder or a file.")
        return from_json(path.read_text(encoding="utf-8"), str(path))
    if path.suffix == ".py":
        if not path.is_file():
            raise ConfigError(f"No experiment file at {path}.")
        return _experiment_of(_import_file(path), str(path))
    raise ConfigError(
        f"Unknown experiment {name_or_path!r}. {did_you_mean(name_or_path, shipped)} "
        "A file of your own: --exp path/to/mine.py."
    )


@dataclass(frozen=True)
class Deviation:
    """What an experiment or a network does otherwise than the source that it names.

    `docs/fidelity.md` is made of these.

    Attributes:
        part: Which setting or step, such as "start".
        theirs: As the source has it.
        ours: As it is here.
        why: The reason.
    """

    part: str
    theirs: str
    ours: str
    why: str


def deviations_of(name: str) -> tuple[Deviation, ...]:
    """The `deviations` of a shipped experiment's file.

    Args:
        name: The experiment.

    Returns:
        What its file declares; empty where it declares none.

    Raises:
        ConfigError: There is no such experiment.
    """
    shipped = find_plugins(experiments_folder(), "experiment")
    if name not in shipped:
        raise ConfigError(f"Unknown experiment {name!r}. {did_you_mean(name, shipped)}")
    return tuple(getattr(_import_file(shipped[name]), "deviations", ()))


def based_on(base: str, *, name: str, **changes: Any) -> Experiment:
    """Another experiment with some of its settings changed.

    A part given as a mapping is merged by field, and its `options` and `layer_rates` by key; a part
    given as an object (`MethodConfig("prototype")`) takes the place of the whole part. Options
    belong to a network or method: under another `name` none of the base are kept.

    Args:
        base: A shipped experiment's name, or whatever else `load_experiment` takes.
        name: The name of the new experiment.
        **changes: Fields of `Experiment`, such as `training={"epochs": 3}` or `seed=1`.

    Returns:
        A new experiment, equal to one that is written out in full.

    Raises:
        ConfigError: No such base, an unknown field, a value of another type, or files that are
            based on each other in a circle.
    """
    try:
        values = dataclasses.asdict(load_experiment(base))
        for key, change in changes.items():
            values[key] = _merged(values.get(key), change)
        values["name"] = name
        experiment: Experiment = _from_mapping(Experiment, values)
    except ConfigError as error:
        raise ConfigError(f"{name}, based on {base}: {error}") from None
    return experiment


def _merged(part: Any, change: Any) -> Any:
    """One field of an experiment after a change: a part field by field, anything else replaced."""
    if dataclasses.is_dataclass(change) and not isinstance(change, type):
        return dataclasses.asdict(change)
    if not isinstance(part, Mapping) or not isinstance(change, Mapping):
        return change
    merged = dict(part)
    if "options" in merged and change.get("name", merged["name"]) != merged["name"]:
        merged["options"] = {}
    for key, value in change.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = {**before, **value}
        merged[key] = value
    return merged


# The files that are being read: an experiment reads the one that it is based on, and so on.
_reading: ContextVar[tuple[Path, ...]] = ContextVar("_reading", default=())


def _import_file(path: Path) -> ModuleType:
    earlier, file = _reading.get(), path.resolve()
    if file in earlier:
        circle = " -> ".join(str(step) for step in (*earlier[earlier.index(file) :], file))
        raise ConfigError(
            f"Experiments are based on each other in a circle: {circle}. Expected one of them to "
            "state its settings as Experiment(...)."
        )
    spec = importlib.util.spec_from_file_location(f"fer_keras_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be read as a Python file.")
    module = importlib.util.module_from_spec(spec)
    token = _reading.set((*earlier, file))
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} fails: {type(error).__name__}: {error}.") from error
    finally:
        _reading.reset(token)
    return module


def _experiment_of(module: ModuleType, where: str) -> Experiment:
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, Experiment):
        raise ConfigError(
            f"{where}: expected a module attribute `experiment` of type "
            f"fer_keras.config.Experiment. Received: {type(experiment).__name__}."
        )
    # A round trip applies the checks of the JSON reader to values written in Python.
    return from_json(to_json(experiment), where)
