from pathlib import Path

import numpy as np
import pytest
from drawn_trees import CKPLUS_SEQUENCES, write_ck48, write_ckplus

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.ckplus_sequences import read
from fer_keras.data.load import load_samples


def test_every_frame_has_the_emotion_of_its_sequence(tmp_path: Path) -> None:
    write_ckplus(tmp_path / "ckplus")
    samples = load_samples("ckplus_sequences", "train", source=tmp_path, cache_dir=tmp_path / "c")
    labelled = {
        f"{subject}_{sequence}": count
        for subject, sequence, _, count, code in CKPLUS_SEQUENCES
        if code is not None
    }
    assert len(samples) == sum(labelled.values())
    sequences, counts = np.unique(samples.facts["sequence"], return_counts=True)
    assert dict(zip(sequences.tolist(), counts.tolist(), strict=True)) == labelled
    chosen = samples.take(samples.facts["sequence"] == "S010_004")
    assert {samples.class_names[label] for label in chosen.labels} == {"anger"}
    assert chosen.facts["frame"].tolist() == [12, 13, 14, 15]
    assert chosen.facts["phase"].tolist() == ["neutral", "peak", "peak", "peak"]
    np.testing.assert_allclose(chosen.facts["position"], [0, 1 / 3, 2 / 3, 1], atol=1e-7)
    assert set(chosen.facts["subject"]) == {"S010"}


def test_the_repackaging_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ckplus_sequences needs the first frames.*ckplus7"):
        read(write_ck48(tmp_path))
