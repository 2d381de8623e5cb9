"""Find faces, cut them out and turn them upright: NumPy and OpenCV only."""

from fer_keras.runtime.faces.align import (
    align_face,
    clip_box,
    crop_face,
    crop_upright,
    similarity_transform,
)
from fer_keras.runtime.faces.detect import DETECTORS, Detector, build_detector
from fer_keras.runtime.faces.face import Face

__all__ = [
    "DETECTORS",
    "Detector",
    "Face",
    "align_face",
    "build_detector",
    "clip_box",
    "crop_face",
    "crop_upright",
    "similarity_transform",
]
