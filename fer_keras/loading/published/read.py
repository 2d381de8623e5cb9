"""Published weights as a network that answers as the authors' does."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, DataError, ModelFileError, did_you_mean
from fer_keras.common.labels import class_name, name_mapping
from fer_keras.loading.published.ddamfn import DDAMFN
from fer_keras.loading.published.decision import decided
from fer_keras.loading.published.esr import BASE, ESR
from fer_keras.loading.published.family import Family, fill
from fer_keras.loading.published.fer2013 import RESNET18, VGG19
from fer_keras.loading.published.manet import MANET, MANET_DIVERSIFIED
from fer_keras.loading.torch_files import Tensors, is_torch_file

FAMILIES: Mapping[str, Family] = {
    "ddamfn": DDAMFN,
    "esr": ESR,
    "manet": MANET,
    "manet_diversified": MANET_DIVERSIFIED,
    "resnet18": RESNET18,
    "vgg19": VGG19,
}


@dataclass(frozen=True)
class Published:
    """A network with its authors' weights.

    Attributes:
        network: Functional Keras model from raw pixels; carries its class names.
        class_names: In the order of its logits.
        family: Key of `FAMILIES`.
        options: Of the network's `build`.
        decision: Of the family's `decisions`.
        sha256: Of the file, or of all files of a folder, hexadecimal.
    """

    network: Any
    class_names: tuple[str, ...]
    family: str
    options: Mapping[str, Any]
    decision: str
    sha256: str


def published_spec(text: str) -> tuple[str, str, str] | None:
    """Takes `NETWORK:LABELS=PATH` apart.

    Args:
        text: For instance `ddamfn:rafdb=FILE`.

    Returns:
        Family, labels and path; None where the text does not begin with a family.
    """
    head, separator, path = text.partition("=")
    family, colon, labels = head.partition(":")
    if not separator or not colon or family not in FAMILIES:
        return None
    return family, labels, path


def is_published_path(path: Path) -> bool:
    """Whether a path is what authors publish: a PyTorch file, or the folder of an ESR."""
    return (path.is_dir() and (path / BASE).is_file()) or is_torch_file(path)


def find_family(name: str) -> Family:
    """A family by name.

    Args:
        name: Key of `FAMILIES`.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in FAMILIES:
        raise ConfigError(
            f"--network: expected one whose authors' weights are read ({', '.join(FAMILIES)}). "
            f"Received: {name!r}. {did_you_mean(name, FAMILIES)}"
        )
    return FAMILIES[name]


def class_order(family: Family, labels: str) -> tuple[str, ...]:
    """The classes of a file, in order.

    Args:
        family: Whose file it is.
        labels: A label order of the family by name, or names with commas between them.

    Raises:
        ConfigError: Neither.
    """
    if labels in family.labels:
        return family.labels[labels]
    names = tuple(class_name(word) for word in labels.split(",") if word.strip())
    if "," not in labels or len(set(names)) != len(names):
        known = "; ".join(f"{name} = {', '.join(order)}" for name, order in family.labels.items())
        raise ConfigError(
            f"--labels: expected the order of the classes in the file: one of the authors' "
            f"({known}), or the names with commas between them. Received: {labels!r}"
        )
    return names


def read_published(path: str | Path, network: str, labels: str, decision: str = "") -> Published:
    """Builds a network and fills it with its authors' weights.

    Args:
        path: A PyTorch file; for `esr` the folder of its files.
        network: Key of `FAMILIES`.
        labels: A label order of the family by name, or names with commas between them.
        decision: Of the family's `decisions`; empty = the authors'.

    Returns:
        The network and what it is.

    Raises:
        ConfigError: Unknown family, labels or decision.
        ModelFileError: The file is missing, damaged or of another network: every tensor must have
            its place by name.
    """
    from fer_keras.models import build_network
    from fer_keras.models.layers import with_class_names

    family = find_family(network)
    names = class_order(family, labels)
    chosen = decision or family.decisions[0]
    if chosen not in family.decisions:
        raise ConfigError(
            f"--decision: expected one of {', '.join(family.decisions)} for {network}. Received: "
            f"{decision!r}"
        )
    where = Path(path)
    tensors = family.read(where)
    try:
        count = family.num_classes(tensors)
        if count != len(names):
            raise ModelFileError(
                f"--labels {labels} names {len(names)} classes ({', '.join(names)}), the file has "
                f"{count} outputs"
            )
        options = {**family.options(tensors), **family.label_options.get(labels, {})}
        side, channels = family.image_size, _channels(tensors)
        built = build_network(family.network, (side, side, channels), count, **options)
        fill(built, tensors, family)
    except ModelFileError as error:
        raise ModelFileError(f"{error}: {where}") from error
    whole = with_class_names(decided(built, chosen), names)
    return Published(whole, names, network, options, chosen, files_sha256(where))


def start_from_published(network: Any, class_names: Sequence[str], path: str) -> list[str]:
    """Fills a network that is to be trained further.

    Args:
        network: A model of `fer_keras.models`; its weights are changed.
        class_names: The classes of its logits.
        path: As `read_published`, or `NETWORK:LABELS=PATH`, which says the classes of the file.

    Returns:
        The layers that keep their weights: the classifier where the classes of the file are not
        said or lack one, and what the file does not have.

    Raises:
        ConfigError: No weights of this network's authors are read.
        ModelFileError: As `read_published`.
    """
    spec = published_spec(path)
    name, labels, file = spec or (str(network.name), "", path)
    family = FAMILIES.get(name)
    if family is None or family.network != network.name:
        raise ConfigError(
            f"network.weights: files of PyTorch are read for {', '.join(FAMILIES)}. Received: "
            f"{network.name!r} and {file}"
        )
    order = None
    if labels:
        try:
            order = name_mapping(class_order(family, labels), class_names)
        except DataError:
            order = None  # A class that the file does not know: all are learned anew.
    where = Path(file)
    try:
        return fill(network, family.read(where), family, without_classifier=True, class_order=order)
    except ModelFileError as error:
        raise ModelFileError(f"{error}: {where}") from error


def _channels(tensors: Tensors) -> int:
    """Of the pictures: what the first kernel reads, which is 1 for the CK+ form of ESR alone."""
    first = tensors.get("base.conv1.weight")
    return 1 if first is not None and first.ndim == 4 and first.shape[1] == 1 else 3


def files_sha256(path: Path) -> str:
    """The checksum of a file, or of all files of an ESR's folder together.

    Args:
        path: As `read_published`.
    """
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
