"""What every data set becomes: arrays of pixels, targets and facts about each image."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.data.gathered import take_images

SPLITS: tuple[str, ...] = ("train", "validation", "test")
_HASHES_AT_ONCE = 65_536


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set before any of its files is read.

    Attributes:
        name: The name used in experiments and commands, also the module's name.
        title: One line for people.
        class_names: Emotions in the order of the targets.
        codes: The data set's own label code -> emotion.
        official_counts: split -> emotion -> number of images in the official release; empty where
            there is none.
        splits: The splits an official copy has.
        licence: Terms of the images and of the labels.
        citation: The paper or challenge to cite.
        how_to_get: The steps that bring the files to the expected place.
        has_votes: Whether annotator votes are stored, so that a label rule applies.
        needs_path: Whether it is only read from a path that is given, never looked for.
        channels: Channels of the stored images, 1 or 3.
        attributes: Further columns of facts -> their type, `"str"`, `"int64"` or `"float32"`.
        version: Version of the prepared form; raised when the preparation changes.
        crops: How the faces of its pictures were cut out; empty where that is not known.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    codes: Mapping[int | str, str]
    official_counts: Mapping[str, Mapping[str, int]]
    splits: tuple[str, ...]
    licence: str
    citation: str
    how_to_get: str
    has_votes: bool = False
    needs_path: bool = False
    channels: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)
    version: str = "1.0.0"
    crops: str = ""

    def without(self, class_name: str) -> "DatasetInfo":
        """The same data set with the images of one emotion left out.

        Dropped by its name: "the last class" is another one as soon as classes are sorted.

        Args:
            class_name: The emotion.

        Returns:
            Another description, whose classes, codes and counts lack it.
        """
        return replace(
            self,
            class_names=tuple(name for name in self.class_names if name != class_name),
            codes={code: name for code, name in self.codes.items() if name != class_name},
            official_counts={
                split: {name: count for name, count in counts.items() if name != class_name}
                for split, counts in self.official_counts.items()
            },
        )


@dataclass(frozen=True)
class Samples:
    """One split of a data set, ready for training or evaluation.

    Attributes:
        name: Name of the data set.
        split: `"train"`, `"validation"` or `"test"`.
        class_names: Emotions in the order of the target columns.
        label_rule: `"hard"`, or the rule that turned votes into targets.
        images: `(n, height, width, channels)` uint8, in memory or memory-mapped.
        targets: `(n, classes)` float32, rows sum to 1.
        facts: Columns of length n, in memory or memory-mapped: always `source`, `sha256` (of the
            decoded native pixels) and `subject` (`""` where unknown); `votes` `(n, 10)` where there
            are; then attributes.
        fingerprint: sha256 over everything above that identifies the data.
        notes: What a reader of a result should know about this copy.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    label_rule: str
    images: np.ndarray
    targets: np.ndarray
    facts: Mapping[str, np.ndarray]
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.images)
        # Five dimensions are several pictures for each sample: pairs and clips. In the place of
        # pictures there may be their embeddings.
        kinds = ((4, "uint8"), (5, "uint8"), (2, "float32"), (3, "float32"))
        if (self.images.ndim, self.images.dtype.name) not in kinds:
            raise DataError(
                f"{self.name} {self.split}: expected images (n, height, width, channels) uint8. "
                f"Received: {self.images.shape} {self.images.dtype}."
            )
        if self.targets.shape != (count, len(self.class_names)):
            raise DataError(
                f"{self.name} {self.split}: expected targets ({count}, {len(self.class_names)}). "
                f"Received: {self.targets.shape}."
            )
        for column, values in self.facts.items():
            if len(values) != count:
                raise DataError(
                    f"{self.name} {self.split}: expected {count} values of {column!r}. "
                    f"Received: {len(values)}."
                )
        if not self.fingerprint:
            # The dataclass is frozen; this is the one field that may be worked out from the rest.
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> np.ndarray:
        """Index of the most probable class, `(n,)` int64."""
        return np.argmax(self.targets, axis=1).astype(np.int64)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Samples":
        """The chosen samples, in the order given, with their own fingerprint.

        Args:
            indices: `(m,)` integers, or a boolean mask of length n.

        Returns:
            Samples of length m; the images are copied into memory, but for more than a gigabyte of
            them in a mapped file, which stay there.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        return replace(
            self,
            images=take_images(self.images, chosen),
            targets=self.targets[chosen],
            facts={column: values[chosen] for column, values in self.facts.items()},
            fingerprint="",
        )

    def class_counts(self) -> dict[str, int]:
        """Number of samples of each class by arg max, in the order of the classes."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, (int(count) for count in counts), strict=True))


@dataclass(frozen=True)
class Example:
    """One image as a data set module reads it, before preparation.

    Attributes:
        image: `(height, width, channels)` uint8, or a picture file, kept as it is.
        label: Index into the class names; -1 where the votes have no majority.
        source: Where it comes from, unique within the data set: a path below the root, or
            `file#row`.
        subject: Who is shown; `""` where unknown.
        votes: `(10,)` vote counts; None where the data set has none.
        attributes: One value for each of `DatasetInfo.attributes`.
        crop: `(left, top, width, height)` in pixels of the upright picture; only what lies in this
            box, clipped to the picture, is stored, as PNG; scaled down only where the part has more
            than 2.5 megapixels. None for the whole picture.
    """

    image: np.ndarray | Path
    label: int
    source: str
    subject: str = ""
    votes: np.ndarray | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    crop: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class SourceContent:
    """What a data set module found in its source files.

    Attributes:
        class_names: Emotions in the order of `Example.label`.
        splits: Split -> its examples, read once. A split that this copy lacks is left out.
        notes: What a reader of a result should know about this copy.
        listings: Name -> lines; each is written to `NAME.txt` beside the prepared data, so that a
            choice made here can be published and repeated.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Iterable[Example]]
    notes: tuple[str, ...] = ()
    listings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def pixel_sha256(pixels: np.ndarray) -> str:
    """The sha256 of an image's decoded pixels, by which exact duplicates are found.

    Args:
        pixels: `(height, width, channels)` or `(height, width)` uint8.

    Returns:
        64 hexadecimal digits; the same for `(h, w)` and `(h, w, 1)`.
    """
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).hexdigest()


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """`(n,)` integer labels as `(n, num_classes)` float32 targets."""
    targets = np.zeros((len(labels), num_classes), np.float32)
    targets[np.arange(len(labels)), labels] = 1.0
    return targets


def _fingerprint(samples: Samples) -> str:
    """sha256 over names, shapes, targets and, image by image, the hash of the native pixels."""
    digest = hashlib.sha256()
    head = (
        samples.name,
        samples.split,
        ",".join(samples.class_names),
        samples.label_rule,
        ",".join(str(size) for size in samples.images.shape),
    )
    digest.update("\n".join(head).encode())
    digest.update(np.ascontiguousarray(samples.targets, dtype="<f4").tobytes())
    if "sha256" in samples.facts:
        # Hashes of the native pixels stand for the images: those may be gigabytes on a disk.
        hashes = samples.facts["sha256"]
        for first in range(0, len(hashes), _HASHES_AT_ONCE):
            block = hashes[first : first + _HASHES_AT_ONCE].tolist()
            digest.update(("\n" * (first > 0) + "\n".join(block)).encode())
    else:
        digest.update(np.ascontiguousarray(samples.images).tobytes())
    return digest.hexdigest()
