"""What the server's OpenAPI document says about bodies and answers."""

from typing import Any

from pydantic import BaseModel, Field

_TYPES = ("image/jpeg", "image/png", "image/bmp", "image/webp", "image/avif", "image/heic")
_BINARY = {"type": "string", "format": "binary"}

# Bodies are read by hand, in memory alone, so they are described by hand.
PICTURES_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": _BINARY} for kind in _TYPES},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {"picture": {"type": "array", "items": _BINARY}},
                }
            },
        },
    }
}


class ErrorAnswer(BaseModel):
    """Why there is no other answer."""

    error: str


class FaceAnswer(BaseModel):
    """A face, as `fer_keras.runtime.recognizer.FaceResult` has it."""

    box: tuple[float, float, float, float] = Field(description="Left, top, width, height in pixels")
    landmarks: list[tuple[float, float]] | None = Field(
        description="Eyes, nose tip, mouth corners as (x, y) in pixels, left ones first"
    )
    emotions: dict[str, float] = Field(description="Label -> probability; they sum to 1")
    dominant: str = Field(description="The most probable label")
    score: float = Field(description="The detector's confidence in the face")
    unsure: bool = Field(description="Whether the model would rather not say")
    label_set: list[str] = Field(description="The labels that cannot be ruled out")
    track: int | None = Field(description="Number of the person in a stream")
    pose: dict[str, float] | None = Field(description="yaw, pitch and roll of the head in degrees")
    quality: float | None = Field(description="How well the face can be read, 0 to 1")
    valence: float | None = Field(description="How pleasant, -1 to 1; null from most models")
    arousal: float | None = Field(description="How excited, -1 to 1; null from most models")


class ModelAnswer(BaseModel):
    """A model of the server."""

    name: str
    labels: list[str]
    image_size: tuple[int, int] = Field(description="Height and width of its input in pixels")
    channels: int = Field(description="1 (grey) or 3 (RGB)")
    file: str
    sha256: str
    prior: str
    reject_threshold: float
    conformal_threshold: float


class ModelsAnswer(BaseModel):
    """The models of the server."""

    default: str
    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    """That the server answers."""

    status: str
    version: str


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is no picture and no form with pictures"},
    401: {"model": ErrorAnswer, "description": "The token is missing or wrong"},
    408: {"model": ErrorAnswer, "description": "The body took too long"},
    413: {"model": ErrorAnswer, "description": "Too many bytes, pixels, pictures or faces"},
    422: {"model": ErrorAnswer, "description": "A picture cannot be read"},
    503: {"model": ErrorAnswer, "description": "Too many requests, or the answer took too long"},
}
