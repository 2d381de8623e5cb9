"""The class prior is a choice: probabilities of a model as if the classes had other shares.

A network learns how frequent each class is among its training targets, and answers by it. Where
the classes come in other shares, Bayes' rule gives the probabilities: each one times the wanted
share over the share in training, then normalised. `balanced:TAU` takes a part of the way to equal
shares, log p - TAU * log prior (Menon et al., "Long-tail learning via logit adjustment", ICLR
2021, section 4.1, post-hoc).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fer_keras.common.errors import ConfigError, ModelFileError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_KINDS = "training, balanced:TAU (0..1), uniform, or shares such as happiness=0.3 neutral=0.6"
# A table of shares is written by hand, and a manifest's is rounded.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PriorChoice:
    """Which shares of the classes the probabilities are for.

    Attributes:
        tau: How far to go from the shares in training (0) to equal shares (1).
        shares: Label -> share wanted, 0..1; the labels that are not named divide the rest as in
            training. Empty where `tau` says it.
    """

    tau: float = 0.0
    shares: Mapping[str, float] | None = None

    @property
    def is_training(self) -> bool:
        """Whether the probabilities stay as the network gives them."""
        return self.tau == 0 and not self.shares

    def __str__(self) -> str:
        """As `parse_prior` reads it."""
        if self.shares:
            return ",".join(f"{name}={share:g}" for name, share in self.shares.items())
        return "training" if self.tau == 0 else f"balanced:{self.tau:g}"


def parse_prior(text: str | Sequence[str] | Mapping[str, float]) -> PriorChoice:
    """Reads the choice of a prior.

    Args:
        text: `training`, `balanced:TAU` with TAU in 0..1, `uniform` (the same as `balanced:1`), or
            `label=share` for one or more labels, separated by commas or spaces or as a sequence;
            or a dict of label and share.

    Returns:
        The choice.

    Raises:
        ConfigError: It is none of these, a label is named twice, or the shares are above 1.
    """
    if isinstance(text, Mapping):
        table = {name: _share(str(share), str(text)) for name, share in text.items()}
        return _of_shares(table, str(text))
    whole = text if isinstance(text, str) else " ".join(text)
    words = whole.replace(",", " ").split()
    if words == ["training"]:
        return PriorChoice()
    if words == ["uniform"]:
        return PriorChoice(1.0)
    if len(words) == 1 and words[0].startswith("balanced:"):
        return PriorChoice(_share(words[0].removeprefix("balanced:"), whole))
    if not words or not all("=" in word for word in words):
        raise ConfigError(f"prior: expected {_KINDS}. Received: {whole!r}")
    shares: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in shares:
            raise ConfigError(f"prior: expected each label once, received {name} twice: {whole!r}")
        shares[name] = _share(value, whole)
    return _of_shares(shares, whole)


def _of_shares(shares: Mapping[str, float], whole: str) -> PriorChoice:
    if not 0 < sum(shares.values()) <= 1 + _SUM_TOLERANCE:
        raise ConfigError(
            "prior: expected shares that sum to at most 1, and not to 0. Received a sum of "
            f"{sum(shares.values()):g}: {whole!r}"
        )
    return PriorChoice(shares=shares)


def read_class_prior(
    manifest: Mapping[str, Any], class_names: Sequence[str], where: object
) -> tuple[float, ...] | None:
    """The shares of the classes among the training targets that a manifest holds.

    Args:
        manifest: The content of `manifest.json` or of a run's `result.json`.
        class_names: In the order wanted.
        where: Named in messages.

    Returns:
        One share a class, in the order of `class_names`; None where none is stored.

    Raises:
        ModelFileError: `class_prior` does not have one share for every class, or they do not sum
            to 1.
    """
    block = manifest.get("class_prior")
    if block is None:
        return None
    # Written so that NaN fails; True is an int for Python.
    usable = (
        isinstance(block, dict)
        and set(block) == set(class_names)
        and all(type(share) in (int, float) and 0 <= share <= 1 for share in block.values())
        and abs(sum(block.values()) - 1) <= _SUM_TOLERANCE
    )
    if not usable:
        raise ModelFileError(
            f"class_prior: expected a share in 0..1 for each of {', '.join(class_names)}, with the "
            f"sum 1. Received: {block!r}. Export the model again: {where}"
        )
    return tuple(float(block[name]) for name in class_names)


def read_default_prior(manifest: Mapping[str, Any], where: object) -> PriorChoice:
    """The prior that a model answers by where none is asked for.

    Args:
        manifest: The content of `manifest.json`; without `default_prior`, as older exports are, it
            is that of the training.
        where: Named in messages.

    Returns:
        The choice.

    Raises:
        ModelFileError: `default_prior` is not what `parse_prior` reads.
    """
    text = manifest.get("default_prior", "training")
    try:
        if isinstance(text, str):
            return parse_prior(text)
        reason = f"prior: expected {_KINDS}. Received: {text!r}"
    except ConfigError as error:
        reason = str(error)
    raise ModelFileError(f"default_prior: {reason}. Export the model again: {where}")


def prior_weights(
    class_names: Sequence[str],
    training_prior: Sequence[float] | None,
    choice: PriorChoice,
    labels: Sequence[str] = (),
) -> "npt.NDArray[np.float64]":
    """The factor of every class's probability before the row is normalised.

    Args:
        class_names: In the order of the columns.
        training_prior: The share of each among the training targets; None where it is not known.
        choice: The shares wanted.
        labels: Keep only these, at least two; empty for all.

    Returns:
        `(classes,)`, at least 0; 0 for a label that is left out.

    Raises:
        ConfigError: A label is unknown, fewer than two are left, the training prior is not known
            and is needed, or a label that is kept had no training target.
    """
    import numpy as np  # Not at the top: commands parse a prior before they need it.

    names = list(class_names)
    for name in [*(choice.shares or ()), *labels]:
        if name not in names:
            raise ConfigError(f"unknown label {name!r}. {did_you_mean(name, names)}")
    kept = np.array([not labels or name in labels for name in names])
    if kept.sum() < 2:
        raise ConfigError(f"labels: expected at least two, received {', '.join(labels)}")
    if choice.is_training:
        return kept.astype(np.float64)
    if training_prior is None:
        raise ConfigError(
            f"prior {choice}: the model's files do not say how frequent each class was in training "
            "(class_prior in manifest.json or result.json). Train or export it again, or use the "
            "prior 'training'"
        )
    prior = np.asarray(training_prior, np.float64)
    absent = [name for name, share in zip(names, prior, strict=True) if share == 0]
    if any(not labels or name in labels for name in absent):
        raise ConfigError(
            f"prior {choice}: the model had no training target of {', '.join(absent)}. Leave them "
            "out with labels, or use the prior 'training'"
        )
    with np.errstate(divide="ignore"):
        if choice.shares is None:
            weights = np.where(prior > 0, prior**-choice.tau, 0.0)
        else:
            weights = np.where(prior > 0, _wanted(names, prior, choice.shares) / prior, 0.0)
    weights = weights * kept
    if not weights.any():
        raise ConfigError(f"prior {choice}: all labels that are kept have the share 0")
    return weights


def reweighted(
    probabilities: "npt.ArrayLike", weights: "npt.NDArray[np.float64]"
) -> "npt.NDArray[np.float64]":
    """Probabilities times the weights of `prior_weights`, normalised.

    Args:
        probabilities: `(n, classes)` or `(classes,)`, rows sum to 1.
        weights: `(classes,)`.

    Returns:
        Of the same shape; rows sum to 1. A row that is 0 in all labels that are kept, which 8-bit
        probabilities can be, says nothing: it becomes equal shares of those labels.
    """
    import numpy as np

    p = np.maximum(np.asarray(probabilities, np.float64), 0.0) * weights
    total = p.sum(axis=-1, keepdims=True)
    nothing = (weights > 0) / np.count_nonzero(weights)
    return np.where(total > 0, p / np.where(total > 0, total, 1.0), nothing)


def adjusted(
    probabilities: "npt.ArrayLike",
    training_prior: Mapping[str, float],
    choice: PriorChoice,
    labels: Sequence[str] = (),
) -> "npt.NDArray[np.float64]":
    """Probabilities as if the classes came in other shares than in training.

    Args:
        probabilities: `(n, classes)`, rows sum to 1, columns in the order of `training_prior`.
        training_prior: Label -> share among the training targets.
        choice: The shares wanted.
        labels: Keep only these; empty for all.

    Returns:
        `(n, classes)`, rows sum to 1; columns of labels that are left out are 0.

    Raises:
        ConfigError: As `prior_weights`.
    """
    names, shares = list(training_prior), list(training_prior.values())
    return reweighted(probabilities, prior_weights(names, shares, choice, labels))


def _wanted(
    names: Sequence[str], prior: "npt.NDArray[np.float64]", shares: Mapping[str, float]
) -> "npt.NDArray[np.float64]":
    """The table of shares with the rest divided as in training, normalised."""
    import numpy as np

    named = np.array([name in shares for name in names])
    wanted = np.array([shares.get(name, 0.0) for name in names])
    rest = prior * ~named
    if rest.sum() > 0:
        wanted += max(0.0, 1 - wanted.sum()) * rest / rest.sum()
    return wanted / wanted.sum()


def _share(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Written so that NaN fails.
    if not 0 <= value <= 1:
        raise ConfigError(f"prior: expected a number in 0..1, received {text!r} in {whole!r}")
    return value
