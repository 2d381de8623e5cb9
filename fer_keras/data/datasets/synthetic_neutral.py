"""Neutral faces of the built-in people in the pose, light and camera of each picture.

In a film, the neutral face comes from the same session as the others. Between pictures of other
sessions a difference also holds the other pose and light; with these it holds the expression.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_keras.common.decode import resize
from fer_keras.common.errors import DataError
from fer_keras.common.files import atomic_path
from fer_keras.data.datasets.synthetic_faces import INFO, draw_neutral, source_files
from fer_keras.data.gathered import GatheredImages, gathered_fingerprint
from fer_keras.data.prepared import cache_folder
from fer_keras.data.samples import Samples


def with_session_neutral(targets: Samples) -> Samples:
    """Pairs each built-in face with the same person's neutral face of the same session.

    The faces are drawn once, in about ten milliseconds each, and kept in `$FER_KERAS_CACHE`.

    Args:
        targets: Samples of `synthetic_faces`.

    Returns:
        Pairs, `images` `(n, 2, height, width, channels)`, with the facts of `make_pairs`.

    Raises:
        DataError: Of any other data set: nobody can draw its people.
    """
    if targets.name != INFO.name:
        raise DataError(
            f"dataset.neutral=same_session: expected {INFO.name}, whose people can be drawn again. "
            f"Received: {targets.name}. Mend: same_subject"
        )
    count = len(targets)
    rows = np.stack([np.arange(count), count + np.arange(count)], axis=1)
    neutral = _faces(targets)
    facts = {
        **targets.facts,
        "neutral_source": np.array([f"{source}:neutral" for source in targets.facts["source"]]),
        "neutral_policy": np.full(count, "same_session"),
    }
    return replace(
        targets,
        images=GatheredImages([neutral, targets.images], rows).as_array(),
        facts=facts,
        fingerprint=gathered_fingerprint([targets.fingerprint, "same_session"], rows),
    )


def _faces(targets: Samples) -> np.ndarray:
    height, width, channels = targets.images.shape[1:]
    sources, people = targets.facts["source"].tolist(), targets.facts["subject"].tolist()
    digest = hashlib.sha256(f"{height} {width} {channels}\n".encode())
    digest.update("\n".join([*sources, *people]).encode())
    for file in source_files(Path()):
        digest.update(file.read_bytes())
    path = cache_folder(None) / "session_neutral" / f"{digest.hexdigest()}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        both = tqdm(
            zip(sources, people, strict=True), total=len(sources), desc="drawing neutral faces",
            leave=False, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        drawn = [draw_neutral(source, person) for source, person in both]
        faces = np.stack([resize(face, (height, width)) for face in drawn])
        faces = np.repeat(faces, channels // faces.shape[-1], axis=-1)
        with atomic_path(path) as temporary:
            np.save(temporary, faces, allow_pickle=False)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
