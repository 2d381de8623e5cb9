"""Films by their content: names lie, and many endings of camcorders and phones are little known.

The first bytes tell the usual containers, without any library. FFmpeg is asked where they do not.
"""

from pathlib import Path

from fer_keras.common.decode import IMAGE_SUFFIXES, is_picture

_HEAD_BYTES = 4096
_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"OggS",
    b"FLV\x01",
    b"GIF8",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
)
# ISO/IEC 14496-12 and QuickTime begin with the length of a box and one of these.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# A packet of a transport stream has 188 bytes, on disks of camcorders after a stamp of four.
_TRANSPORT_SYNC = 0x47
_TRANSPORT_PACKETS = ((0, 188), (4, 192))
# Endings whose files are films also where their first bytes are damaged: the message then fits.
VIDEO_SUFFIXES = frozenset(
    (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)


def is_film(path: Path) -> bool:
    """Whether a file is read as a film.

    Args:
        path: Of a file; others, and files that cannot be read, go by their names.

    Returns:
        True for films, also GIF; False for pictures, text and whatever FFmpeg does not know.
    """
    suffix = path.suffix.lower()
    try:
        # A pipe or a device would never end.
        if not path.is_file():
            return suffix in VIDEO_SUFFIXES
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return suffix in VIDEO_SUFFIXES
    if is_picture(head):
        return False
    if _begins_as_film(head) or suffix in VIDEO_SUFFIXES:
        return True
    # FFmpeg draws text as a film.
    return suffix not in IMAGE_SUFFIXES and not _is_text(head) and _can_be_opened(path)


def _begins_as_film(head: bytes) -> bool:
    return (
        head.startswith(_STARTS)
        or head[4:8] in _BOXES
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or any(
            len(head) > start + 2 * step
            and all(head[start + i * step] == _TRANSPORT_SYNC for i in range(3))
            for start, step in _TRANSPORT_PACKETS
        )
    )


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)


def _can_be_opened(path: Path) -> bool:
    # Imported only for files that nothing else knows, so that all others are told at once.
    from fer_keras.common.opencv import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return bool(capture.isOpened() and capture.grab())
    finally:
        capture.release()
