"""The one import of OpenCV, so that a missing library gives a sentence and not a linker message."""

from fer_keras.common.errors import ConfigError

try:
    import cv2
except ImportError as error:
    # opencv-python links against the desktop's libGL, which a server or a minimal Pi image lacks.
    if "libGL" in str(error) or "libgthread" in str(error):
        mend = (
            "install the system library (Debian, Ubuntu, Raspberry Pi OS: apt install libgl1), or "
            "pip uninstall opencv-python && pip install 'opencv-python-headless<5' (no windows)"
        )
    else:
        mend = "pip install 'opencv-python<5'"
    raise ConfigError(f"OpenCV cannot be imported ({error}). Mend: {mend}") from error

__all__ = ["cv2"]
