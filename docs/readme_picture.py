"""Draws the picture that the README opens with: what `predict --save-images` makes of drawn faces.

python docs/readme_picture.py          write docs/images/annotated.png, and without what was read
                                       in it the sample picture of the web page
"""

from pathlib import Path

import numpy as np

import fer_keras
from fer_keras.common.decode import resize
from fer_keras.common.opencv import cv2
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.stream.overlay import Status, draw_faces

_PATH = Path(__file__).parent / "images" / "annotated.png"
_SAMPLE = Path(fer_keras.__file__).parent / "runtime" / "web" / "static" / "sample.png"
_SIZE = 256
_VIEW = View(scale=0.31, shift_y=0.03)
# Subject -> action units (facial muscles) and how far they move. Chosen among those that the model
# reads as they are meant: it was trained on photographs, and a neutral drawing surprises it.
_PEOPLE: dict[int, dict[int, float]] = {
    3: {6: 1.0, 12: 1.0, 25: 0.6},
    10: {1: 1.0, 2: 1.0, 5: 0.9, 25: 0.8, 26: 1.0},
    14: {4: 1.0, 7: 0.8, 9: 0.4, 23: 0.9, 24: 0.6},
    7: {1: 1.0, 4: 0.6, 15: 1.0, 17: 0.6},
}


def main() -> None:
    """Writes the picture and prints what was read."""
    drawn = [
        draw_face(make_identity(0, subject), units, _VIEW, _SIZE)[0]
        for subject, units in _PEOPLE.items()
    ]
    scene = np.concatenate(drawn, axis=1).astype(np.uint8)
    _write(_SAMPLE, scene)
    recognizer = Recognizer()
    faces = recognizer.recognize(scene)
    for face in faces:
        print(face["dominant"], f"{face['emotions'][face['dominant']]:.0%}")
    name = f"{recognizer.manifest['name']}, drawn faces"
    canvas = draw_faces(scene, faces, Status(f"{len(faces)} faces", name))
    width = 1200
    canvas = resize(canvas, (round(canvas.shape[0] * width / canvas.shape[1]), width))
    _write(_PATH, canvas)


def _write(path: Path, picture: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())


if __name__ == "__main__":
    main()
