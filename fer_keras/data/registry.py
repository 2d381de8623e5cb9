"""Data set names -> modules, and the TFDS builder that prepares any of them.

A data set is a module of `fer_keras/data/datasets` with `INFO`, `find`, `source_files` and `read`
(see `DatasetModule`). Preparation writes a TFDS data set (ArrayRecord files and their feature
description), which other tools can read too; it needs `tensorflow_datasets` but no TensorFlow.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.plugins import find_plugins, is_own_file, load_plugin
from fer_keras.data.beam_records import beam_records
from fer_keras.data.records import record_of
from fer_keras.data.samples import DatasetInfo, Example, SourceContent


class DatasetModule(Protocol):
    """What a module `fer_keras/data/datasets/NAME.py` offers to be a data set."""

    INFO: DatasetInfo

    def find(self, folder: Path) -> Path | None:
        """The source in a data folder, or in its own folder; None where it is not there."""

    def source_files(self, source: Path) -> Iterable[Path]:
        """Every file whose change makes a prepared copy stale."""

    def read(self, source: Path) -> SourceContent:
        """All examples; raises `DataError` for anything that is not as it should be."""


def list_datasets() -> tuple[str, ...]:
    """Names of all data sets: the modules of `fer_keras/data/datasets` that declare an `INFO`."""
    return tuple(find_plugins(Path(__file__).with_name("datasets"), "INFO"))


def dataset_module(name: str) -> Any:
    """The module of a data set.

    Args:
        name: As listed by `list_datasets`, or the path of a `.py` file of one's own.

    Returns:
        The imported module, a `DatasetModule`.

    Raises:
        DataError: There is no data set of this name; the message lists the nearest.
    """
    folder = Path(__file__).with_name("datasets")
    module = load_plugin(name, "fer_keras.data.datasets", folder, "INFO", "data set", DataError)
    if is_own_file(name) and module.INFO.name in list_datasets():
        raise DataError(
            f"data set: expected an INFO with a name of its own. Received: {module.INFO.name!r}, "
            f"which is a shipped data set: {name}"
        )
    return module


def make_builder(
    info: DatasetInfo, content: SourceContent, data_dir: Path, fault_folder: Path | None = None
) -> Any:
    """The TFDS builder of a data set.

    Args:
        info: The data set's description.
        content: What was read from its source.
        data_dir: Where `download_and_prepare` writes `NAME/VERSION/`.
        fault_folder: Builds with Apache Beam, whose workers write here what cannot be decoded.

    Returns:
        A `tfds.core.GeneratorBasedBuilder`. Its list `unreadable` holds, after preparation, one
        line for every picture that could not be decoded; such a preparation is to be thrown away.
    """
    import tensorflow_datasets as tfds

    class Builder(  # type: ignore[call-arg]
        tfds.core.GeneratorBasedBuilder, skip_registration=True
    ):
        """Writes the examples in source order, one TFDS split for each split."""

        name = info.name
        VERSION = tfds.core.Version(info.version)
        MANUAL_DOWNLOAD_INSTRUCTIONS = info.how_to_get
        # TFDS looks for README and checksum files beside the code; there are none to find.
        pkg_dir_path = None
        code_path = None
        unreadable: ClassVar[list[str]] = []

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{info.title}. {info.licence}",
                citation=info.citation,
                features=_features(tfds, info, content.class_names),
                # Rows keep their order, so that facts can be joined with the source by position.
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager  # nothing is downloaded: licences ask the user to do that
            return {
                split: self._generate_examples(examples)
                for split, examples in content.splits.items()
            }

        def _generate_examples(self, examples: Iterable[Example]) -> Any:
            if fault_folder is not None:
                return beam_records(info, examples, fault_folder)
            return self._records(examples)

        def _records(self, examples: Iterable[Example]) -> Iterator[Any]:
            for key, example in enumerate(examples):
                try:
                    yield key, record_of(info, example)
                except DataError as error:
                    self.unreadable.append(str(error))

    return Builder(data_dir=str(data_dir), file_format="array_record")


def open_prepared(folder: Path, split: str) -> Any:
    """Random access to the records of a prepared split, images still as picture bytes.

    Args:
        folder: `NAME/VERSION` folder that a builder wrote.
        split: One of its splits.

    Returns:
        A sequence of dicts.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


def _features(tfds: Any, info: DatasetInfo, class_names: tuple[str, ...]) -> Any:
    scalars = {
        "str": tfds.features.Text(),
        "int64": tfds.features.Scalar(np.int64),
        "float32": tfds.features.Scalar(np.float32),
    }
    features = {
        "image": tfds.features.Image(shape=(None, None, info.channels)),
        "label": tfds.features.ClassLabel(names=list(class_names)),
        "subject": tfds.features.Text(doc="who is shown, empty where unknown"),
        "source": tfds.features.Text(doc="file or row the image comes from"),
        "sha256": tfds.features.Text(doc="of the decoded native pixels"),
    }
    if info.has_votes:
        features["votes"] = tfds.features.Tensor(shape=(10,), dtype=np.int64)
    if info.attributes:
        features["attributes"] = tfds.features.FeaturesDict(
            {name: scalars[kind] for name, kind in info.attributes.items()}
        )
    return tfds.features.FeaturesDict(features)
