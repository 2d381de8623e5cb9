"""Wrong training labels on purpose: symmetric noise, as in the studies of noisy labels."""

from dataclasses import replace

import numpy as np

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data.samples import Samples, one_hot


def with_label_noise(samples: Samples, share: float, seed: int) -> Samples:
    """Replaces a share of the labels by another class, each other class with the same chance.

    Symmetric noise of 10, 20 and 30 per cent is what EAC (Zhang et al., ECCV 2022, section 4.3)
    and RUL (Zhang et al., NeurIPS 2021, section 4.2) are measured with.

    Args:
        samples: A training split with one class for each sample.
        share: Share of the samples to change, 0 to below 1; that many are changed exactly.
        seed: Seeds the choice.

    Returns:
        The samples with a further column of facts, `clean_label`, `(n,)` int64.

    Raises:
        ConfigError: The share is out of range.
        DataError: The targets are distributions.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"label_noise: expected 0 <= label_noise < 1. Received: {share}.")
    if (samples.targets.max(axis=1) < 1).any():
        raise DataError(
            f"{samples.name}: label noise needs one class for each picture. Received distributions "
            f"(label rule {samples.label_rule!r}). Mend: dataset.label_rule=majority"
        )
    clean, num_classes = samples.labels, len(samples.class_names)
    rng = np.random.default_rng([seed, num_classes, len(samples)])
    chosen = rng.choice(len(samples), round(share * len(samples)), replace=False)
    noisy = clean.copy()
    # A step of 1 to classes - 1 never comes back to the class itself.
    noisy[chosen] = (clean[chosen] + rng.integers(1, num_classes, len(chosen))) % num_classes
    return replace(
        samples,
        targets=one_hot(noisy, num_classes),
        facts={**samples.facts, "clean_label": clean},
        notes=(*samples.notes, f"{len(chosen)} of {len(samples)} training labels are wrong"),
        fingerprint="",
    )
