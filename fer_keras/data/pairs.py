"""Pairs of a neutral face and a target face, for networks that read their difference.

The difference-of-embeddings write-up takes a neutral picture of the same person. Where persons are
unknown (AffectNet) it does not say which neutral face is used, so the rule is a setting here, and
every pair records the neutral picture it got.

With a neutral face of another session the difference gains nothing (docs/neutral.md).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.gathered import GatheredImages, gathered_fingerprint
from fer_keras.data.samples import Samples

Policy = Literal["same_subject", "random_neutral", "mean_neutral"]
IfAlone = Literal["random_neutral", "drop", "error"]


@dataclass(frozen=True)
class Pairs:
    """Targets with their neutral partners.

    Attributes:
        samples: The targets; `images` `(n, 1 + k, height, width, channels)` holds the k neutral
            pictures first and the target last. The facts gain `neutral_source` and
            `neutral_policy`.
        policy: How the partners were chosen.
        partners: `(n, k)` row numbers of the partners: those of train (one for the mean face),
            then those of the targets.
    """

    samples: Samples
    policy: Policy
    partners: np.ndarray


def make_pairs(
    targets: Samples,
    train: Samples,
    policy: Policy,
    *,
    num_neutrals: int = 1,
    seed: int = 0,
    if_alone: IfAlone = "error",
) -> Pairs:
    """Gives every sample its neutral partners.

    Args:
        targets: The split to pair, n samples.
        train: The training split: whatever is not the person's own face comes from it, so that no
            held-out picture serves another one.
        policy: `same_subject`: neutral faces of the same person, from `targets` and from train;
            `random_neutral`: neutral faces of train, drawn by `seed`; `mean_neutral`: the mean of
            all neutral faces of train.
        num_neutrals: Number k of partners; 1 for `mean_neutral`.
        seed: Another seed gives other partners; scores should be reported with their spread.
        if_alone: What becomes of a person without another neutral picture, by `same_subject`.

    Returns:
        The pairs, in the order of the targets. A picture is never paired with itself or with an
        exact copy of it: the difference would be zero for neutral faces and give the label away.

    Raises:
        ConfigError: A setting is out of range.
        DataError: There are not enough neutral faces, or a person has none and `if_alone` is
            `error`, or subjects are not known.
    """
    if num_neutrals < 1 or (policy == "mean_neutral" and num_neutrals != 1):
        raise ConfigError(
            "num_neutrals: expected 1 or more, and 1 for mean_neutral. Received: "
            f"{num_neutrals} for {policy}."
        )
    rng = np.random.default_rng([seed, num_neutrals])
    if policy == "mean_neutral":
        mean = train.images[_neutral_rows(train)].mean(axis=0, dtype=np.float64)
        face = np.round(mean)[np.newaxis].astype(np.uint8)
        mean_of_train = replace(
            train.take([0]),
            images=face,
            facts={**train.take([0]).facts, "source": np.array(["mean of train"])},
        )
        return _join(targets, mean_of_train, np.zeros((len(targets), 1), np.int64), policy)
    if policy == "random_neutral":
        return _join(targets, train, _random(targets, train, num_neutrals, rng), policy)
    if policy != "same_subject":
        raise ConfigError(
            f"pairing: expected same_subject, random_neutral or mean_neutral. Received: {policy!r}."
        )
    partners, alone = _same_subject(targets, train, num_neutrals, rng)
    if alone.any() and if_alone == "error":
        first = targets.facts["source"][np.argmax(alone)]
        raise DataError(
            f"{targets.name} {targets.split}: {int(alone.sum())} of {len(targets)} pictures show a "
            f"person with fewer than {num_neutrals} other neutral pictures, the first is {first}. "
            "Mend: if_alone='random_neutral' or 'drop'"
        )
    if alone.any() and if_alone == "random_neutral":
        partners[alone] = _random(targets.take(alone), train, num_neutrals, rng)
        alone[:] = False
    return _join(targets, train, partners, policy, kept=np.flatnonzero(~alone))


def with_neutral(targets: Samples, train: Samples, config: DatasetConfig) -> Samples:
    """Pairs a split as an experiment asks for.

    Args:
        targets: The split to pair.
        train: The training split, see `make_pairs`.
        config: Its `neutral` is a policy or `auto`, and `neutral_seed` draws the partners.

    Returns:
        Pairs, `images` `(n, 2, height, width, channels)`; a note says what the partners are.

    Raises:
        DataError: There are no partners of the kind that is asked for.
    """
    policy = config.neutral
    if policy == "none":
        return targets
    if policy == "same_session":
        # It draws its faces.
        from fer_keras.data.datasets.synthetic_neutral import with_session_neutral

        return with_session_neutral(targets)
    if policy == "auto":
        known = (targets.facts["subject"] != "").all()
        policy = "same_subject" if known else "random_neutral"
    if_alone: IfAlone = "random_neutral" if config.neutral == "auto" else "error"
    seed = config.neutral_seed
    samples = make_pairs(targets, train, policy, seed=seed, if_alone=if_alone).samples
    used, counts = np.unique(samples.facts["neutral_policy"], return_counts=True)
    partners = ", ".join(
        f"{name} ({count})" for name, count in zip(used.tolist(), counts.tolist(), strict=True)
    )
    note = f"{targets.split}: neutral faces by {partners}, seed {seed}"
    return replace(samples, notes=(*samples.notes, note))


def _neutral_rows(samples: Samples, *, required: bool = True) -> np.ndarray:
    if "neutral" not in samples.class_names:
        raise DataError(f"{samples.name}: expected a class neutral to pair with. Received none.")
    rows = np.flatnonzero(samples.labels == samples.class_names.index("neutral"))
    if required and not len(rows):
        raise DataError(f"{samples.name} {samples.split}: expected neutral faces. Received none.")
    return rows


def _random(targets: Samples, train: Samples, k: int, rng: np.random.Generator) -> np.ndarray:
    """`(n, k)` different neutral rows of train, none with the pixels of its target."""
    neutral = _neutral_rows(train)
    pixels, first = np.unique(train.facts["sha256"][neutral], return_index=True)
    neutral = neutral[first]
    if len(neutral) <= k:
        raise DataError(
            f"{train.name} {train.split}: expected more than {k} different neutral faces. "
            f"Received: {len(neutral)}."
        )
    partners = np.empty((len(targets), k), np.int64)
    for row, own in enumerate(targets.facts["sha256"].tolist()):
        # One more than needed, in case the picture itself is among them.
        drawn = rng.choice(len(neutral), k + 1, replace=False)
        partners[row] = neutral[drawn[pixels[drawn] != own][:k]]
    return partners


def _same_subject(
    targets: Samples, train: Samples, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`(n, k)` rows of neutral faces of the same person, and who has too few of them.

    The rows are those of train, then those of the targets.
    """
    unknown = int((targets.facts["subject"] == "").sum())
    if unknown:
        raise DataError(
            f"{targets.name} {targets.split}: same_subject needs to know who is shown, which is "
            f"unknown for {unknown} of {len(targets)} pictures. "
            "Mend: random_neutral or mean_neutral"
        )
    # Person -> pixels of a neutral face -> its row: a picture that is in both splits counts once.
    neutral: dict[str, dict[str, int]] = {}
    for samples, offset in ((targets, len(train)), (train, 0)):
        for row in _neutral_rows(samples, required=False).tolist():
            person, pixels = samples.facts["subject"][row], samples.facts["sha256"][row]
            neutral.setdefault(str(person), {}).setdefault(str(pixels), offset + row)
    partners = np.zeros((len(targets), k), np.int64)
    alone = np.zeros(len(targets), bool)
    own = (targets.facts["subject"].tolist(), targets.facts["sha256"].tolist())
    for row, (person, pixels) in enumerate(zip(*own, strict=True)):
        others = [r for p, r in neutral.get(person, {}).items() if p != pixels]
        if len(others) < k:
            alone[row] = True
        else:
            partners[row] = rng.choice(others, k, replace=False)
    return partners, alone


def _join(
    targets: Samples,
    train: Samples,
    partners: np.ndarray,
    policy: Policy,
    kept: np.ndarray | None = None,
) -> Pairs:
    """Pairs from partners that are rows of train followed by the targets."""
    kept = np.arange(len(targets)) if kept is None else kept
    partners = partners[kept]
    rows = np.concatenate([partners, len(train) + kept[:, np.newaxis]], axis=1)
    sources = np.concatenate([train.facts["source"], targets.facts["source"]])
    people = np.concatenate([train.facts["subject"], targets.facts["subject"]])
    is_own = policy == "same_subject"
    own_face = people[partners[:, 0]] == targets.facts["subject"][kept]
    used = np.where(is_own & ~own_face, "random_neutral", policy)
    facts = {column: values[kept] for column, values in targets.facts.items()}
    facts["neutral_source"] = np.array([" ".join(row) for row in sources[partners].tolist()])
    facts["neutral_policy"] = used
    samples = replace(
        targets,
        images=GatheredImages([train.images, targets.images], rows).as_array(),
        targets=targets.targets[kept],
        facts=facts,
        fingerprint=gathered_fingerprint([train.fingerprint, targets.fingerprint], rows),
    )
    return Pairs(samples, policy, partners)
