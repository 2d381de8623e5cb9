"""What webcams and rooms do to a face: seeded corruptions of face crops in five severities.

Few light, a far or badly focused camera, a turned head, a mask, sunglasses, a slow line. After the
common corruptions of Hendrycks and Dietterich 2019 (section 4), with values that suit small faces.

Lengths are stated for a face crop 48 pixels wide and scale with larger crops; "24 px" means that
the whole crop had 24 pixels a side. The draws of a picture depend on the seed and on its number
alone, and are the same for all severities, so a curve over the severities shows one cause.

Crops are corrupted at 48 pixels, before each model scales them as it does: all models see the same
pictures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.opencv import cv2

NUM_SEVERITIES = 5
_REFERENCE_SIDE = 48

Image = npt.NDArray[np.uint8]
Generator = np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """One way in which a picture of a face gets worse.

    Attributes:
        name: As in tables and file columns.
        title: For people.
        unit: How a value is written, for instance `"{:g} px"`.
        values: What severity 1 to 5 means.
        apply: From a picture `(height, width, channels)`, a value and a generator to the corrupted
            picture; float results are rounded and cut to 0..255.
    """

    name: str
    title: str
    unit: str
    values: tuple[float, float, float, float, float]
    apply: Callable[[Image, float, Generator], npt.NDArray[Any]]

    def label(self, severity: int) -> str:
        """The value of a severity with its unit, for instance `"24 px"`."""
        return self.unit.format(self.values[severity - 1])


def corrupt(
    images: Image, name: str, severity: int, *, seed: int = 0, first_index: int = 0
) -> Image:
    """Corrupts pictures of faces.

    Args:
        images: `(n, height, width, channels)` uint8, 1 (grey) or 3 (RGB) channels; left as it is.
        name: One of `CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: Of what is drawn: directions, places, noise.
        first_index: Number of the first picture, so that a block gives what the whole would.

    Returns:
        As `images`, a new array.

    Raises:
        ConfigError: No such corruption, severity or kind of picture.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"Unknown corruption {name!r}. {did_you_mean(name, CORRUPTIONS)}")
    if not 1 <= severity <= NUM_SEVERITIES:
        raise ConfigError(f"Severity: expected 1 to {NUM_SEVERITIES}. Received: {severity}.")
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise ConfigError(
            "Expected uint8 images (n, height, width, 1 or 3). "
            f"Received: {images.dtype} {images.shape}."
        )
    corruption = CORRUPTIONS[name]
    value = corruption.values[severity - 1]
    result = np.empty_like(images)
    for i, image in enumerate(images):
        generator = np.random.default_rng([seed, first_index + i])
        changed = corruption.apply(np.ascontiguousarray(image), value, generator)
        # OpenCV drops a channel axis of length one.
        result[i] = np.clip(np.rint(changed), 0, 255).reshape(image.shape)
    return result


def _pixels(image: Image, length: float) -> float:
    """A length that is stated for a crop of 48 pixels, in pixels of this one."""
    return length * image.shape[0] / _REFERENCE_SIDE


def _low_resolution(image: Image, side: float, _: Generator) -> npt.NDArray[Any]:
    return _through_fewer_pixels(image, side, cv2.INTER_LINEAR)


def _pixelation(image: Image, side: float, _: Generator) -> npt.NDArray[Any]:
    return _through_fewer_pixels(image, side, cv2.INTER_NEAREST)


def _through_fewer_pixels(image: Image, side: float, enlarge: int) -> npt.NDArray[Any]:
    height, width = image.shape[:2]
    small = (round(side * width / height), round(side))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=enlarge))


def _gaussian_blur(image: Image, sigma: float, _: Generator) -> npt.NDArray[Any]:
    scaled = _pixels(image, sigma)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), scaled, borderType=cv2.BORDER_REFLECT_101))


def _light(image: Image, gain: float, _: Generator) -> npt.NDArray[Any]:
    return image * np.float32(gain)


def _gamma(image: Image, exponent: float, generator: Generator) -> npt.NDArray[Any]:
    """As often darker as brighter."""
    power = exponent if generator.random() < 0.5 else 1 / exponent
    return (255 * (np.arange(256) / 255) ** power)[image]


def _contrast(image: Image, share: float, _: Generator) -> npt.NDArray[Any]:
    mean = image.mean(dtype=np.float32)
    return mean + (image - mean) * np.float32(share)


def _light_gradient(image: Image, gain: float, generator: Generator) -> npt.NDArray[Any]:
    """Full light at one of the four edges, falling evenly to `gain` at the edge across."""
    height, width = image.shape[:2]
    along_width = generator.random() < 0.5
    ramp = np.linspace(1.0, gain, width if along_width else height, dtype=np.float32)
    if generator.random() < 0.5:
        ramp = ramp[::-1]
    return image * (ramp[None, :, None] if along_width else ramp[:, None, None])


def _rotation(image: Image, degrees: float, generator: Generator) -> npt.NDArray[Any]:
    """Either way round the centre; where the picture ends its last pixels go on."""
    height, width = image.shape[:2]
    angle = degrees if generator.random() < 0.5 else -degrees
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return np.asarray(
        cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )


def _perspective(image: Image, shortening: float, generator: Generator) -> npt.NDArray[Any]:
    """A head turned away: one of the four edges is shorter by this share."""
    height, width = image.shape[:2]
    right, bottom = width - 1.0, height - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    centre = corners.mean(axis=0)
    moved = corners.copy()
    first = int(generator.integers(4))
    edge = [first, (first + 1) % 4]
    # Along the edge by the whole share, towards the middle by half: what turns away comes nearer.
    along = 0 if first % 2 == 0 else 1
    pull = np.where(np.arange(2) == along, shortening, shortening / 2).astype(np.float32)
    moved[edge] += pull * (centre - corners[edge])
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(
        cv2.warpPerspective(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )


def _eyes_hidden(image: Image, rows: float, _: Generator) -> npt.NDArray[Any]:
    """A band over the whole width around row 18 of 48, where an aligned face has its eyes."""
    return _hide_rows(image, 18 - rows / 2, 18 + rows / 2)


def _mouth_hidden(image: Image, rows: float, _: Generator) -> npt.NDArray[Any]:
    """A band over the whole width from the lower edge up, as of a mask."""
    return _hide_rows(image, _REFERENCE_SIDE - rows, _REFERENCE_SIDE)


def _hide_rows(image: Image, top: float, bottom: float) -> npt.NDArray[Any]:
    """Fills a band with the picture's mean colour."""
    hidden = image.copy()
    first, end = round(_pixels(image, top)), round(_pixels(image, bottom))
    hidden[first:end] = np.rint(image.mean(axis=(0, 1)))
    return hidden


def _random_box(image: Image, share: float, generator: Generator) -> npt.NDArray[Any]:
    """A square of any grey, anywhere, over this share of the area."""
    height, width = image.shape[:2]
    side = round((share * height * width) ** 0.5)
    top = round(generator.random() * (height - side))
    left = round(generator.random() * (width - side))
    covered = image.copy()
    covered[top : top + side, left : left + side] = generator.integers(256)
    return covered


def _gaussian_noise(image: Image, sigma: float, generator: Generator) -> npt.NDArray[Any]:
    return image + sigma * generator.standard_normal(image.shape, np.float32)


def _jpeg(image: Image, quality: float, _: Generator) -> npt.NDArray[Any]:
    # OpenCV writes BGR and reads it back.
    bgr = np.ascontiguousarray(image[..., ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    return decoded.reshape(image.shape)[..., ::-1]


CORRUPTIONS: Mapping[str, Corruption] = {
    corruption.name: corruption
    for corruption in (
        Corruption(
            "low_resolution", "Low resolution", "{:g} px", (32, 28, 24, 20, 16), _low_resolution
        ),
        Corruption("pixelation", "Pixelation", "{:g} px", (24, 20, 16, 12, 8), _pixelation),
        Corruption("gaussian_blur", "Blur", "σ {:g}", (0.5, 0.75, 1, 1.5, 2), _gaussian_blur),
        Corruption("light", "Little light", "x{:g}", (0.8, 0.65, 0.5, 0.4, 0.3), _light),
        Corruption(
            "light_gradient", "Light from a side", "x{:g}", (0.7, 0.5, 0.35, 0.2, 0.1),
            _light_gradient,
        ),
        Corruption("gamma", "Gamma, either way", "γ {:g}", (1.25, 1.5, 2, 2.5, 3), _gamma),
        Corruption("contrast", "Low contrast", "x{:g}", (0.75, 0.6, 0.45, 0.3, 0.2), _contrast),
        Corruption("rotation", "Rotation", "{:g}°", (5, 10, 15, 20, 25), _rotation),
        Corruption("perspective", "Perspective", "{:.0%}", (0.1, 0.2, 0.3, 0.4, 0.5), _perspective),
        Corruption("eyes_hidden", "Eyes hidden", "{:g} rows", (4, 6, 8, 12, 16), _eyes_hidden),
        Corruption("mouth_hidden", "Mouth hidden", "{:g} rows", (8, 10, 12, 16, 20), _mouth_hidden),
        Corruption("random_box", "Random box", "{:.0%}", (0.05, 0.1, 0.2, 0.3, 0.4), _random_box),
        Corruption("gaussian_noise", "Noise", "σ {:g}", (5, 10, 15, 20, 30), _gaussian_noise),
        Corruption("jpeg", "JPEG", "q {:g}", (50, 30, 20, 10, 5), _jpeg),
    )
}  # fmt: skip

# What is promised to users: the points at which models are compared, by their usual names.
STANDARD_POINTS: Mapping[str, tuple[str, int]] = {
    "24 px": ("low_resolution", 3),
    "blur sigma 1.5": ("gaussian_blur", 4),
    "light x0.4": ("light", 4),
    "rotation 20 degrees": ("rotation", 4),
    "mouth hidden": ("mouth_hidden", 4),
    "eyes hidden": ("eyes_hidden", 4),
    "16 px": ("low_resolution", 5),
}
