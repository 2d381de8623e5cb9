"""Wrong training labels on purpose: symmetric noise, drawn here or from a published list."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

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
    _check_hard(samples)
    clean, num_classes = samples.labels, len(samples.class_names)
    rng = np.random.default_rng([seed, num_classes, len(samples)])
    chosen = rng.choice(len(samples), round(share * len(samples)), replace=False)
    noisy = clean.copy()
    # A step of 1 to classes - 1 never comes back to the class itself.
    noisy[chosen] = (clean[chosen] + rng.integers(1, num_classes, len(chosen))) % num_classes
    return _relabelled(samples, noisy)


def with_label_list(samples: Samples, path: Path, codes: Mapping[int | str, str]) -> Samples:
    """Takes the labels from a list, as the programs of EAC and RUL do with their noise of RAF-DB.

    Args:
        samples: A training split with one class for each sample; `source` is a path of a picture.
        path: Lines of the name of a picture and a code of the data set, `train_00001.jpg 5`. Names
            are compared without folder, ending and `_aligned`; other pictures may be listed too.
        codes: Code -> name of a class.

    Returns:
        The samples with a further column of facts, `clean_label`, `(n,)` int64.

    Raises:
        DataError: The list cannot be read, names a picture twice or an unknown code, or lacks a
            picture; or the targets are distributions.
    """
    _check_hard(samples)
    classes = {
        str(code): samples.class_names.index(name)
        for code, name in codes.items()
        if name in samples.class_names
    }
    listed: dict[str, int] = {}
    try:
        lines = path.expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"dataset.label_list: the list cannot be read ({error}): {path}") from error
    for number, line in enumerate(lines, start=1):
        name, _, code = line.strip().rpartition(" ")
        if not line.strip():
            continue
        key = _stem(name.strip())
        if not key or code not in classes or key in listed:
            fault = "the picture is listed twice" if key in listed else f"received {line[:60]!r}"
            raise DataError(
                f"dataset.label_list, line {number}: expected the name of a picture and one of the "
                f"codes {', '.join(classes) or 'that the data set has none of'}; {fault}: {path}"
            )
        listed[key] = classes[code]
    keys = [_stem(str(source)) for source in samples.facts["source"]]
    lacking = [key for key in keys if key not in listed]
    if lacking:
        raise DataError(
            f"dataset.label_list: {len(lacking)} of {len(keys)} training pictures are not listed, "
            f"the first is {lacking[0]}. Expected a list of {samples.name}: {path}"
        )
    return _relabelled(samples, np.array([listed[key] for key in keys], np.int64))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0].removesuffix("_aligned")


def _check_hard(samples: Samples) -> None:
    if (samples.targets.max(axis=1) < 1).any():
        raise DataError(
            f"{samples.name}: label noise needs one class for each picture. Received distributions "
            f"(label rule {samples.label_rule!r}). Mend: dataset.label_rule=majority"
        )


def _relabelled(samples: Samples, noisy: np.ndarray) -> Samples:
    clean = samples.labels
    wrong = int(np.count_nonzero(noisy != clean))
    return replace(
        samples,
        targets=one_hot(noisy, len(samples.class_names)),
        facts={**samples.facts, "clean_label": clean},
        notes=(*samples.notes, f"{wrong} of {len(samples)} training labels are wrong"),
        fingerprint="",
    )
