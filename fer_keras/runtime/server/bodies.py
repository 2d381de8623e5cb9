"""The pictures in the body of a request: raw, or as files of a form; in memory alone."""

from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from fer_keras.runtime.server.refusal import Refused
from fer_keras.runtime.server.settings import Limits


class _MemoryParser(MultiPartParser):
    # Starlette would write larger files to the disk. The body's own limit holds before this one.
    spool_max_size = 2**62


def is_form(request: Request) -> bool:
    """Whether the body is a form with files, and not one raw picture."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_pictures(request: Request, limits: Limits) -> list[bytes]:
    """The pictures of a request, as they came.

    Args:
        request: With one raw picture as its body, or a form whose files are pictures.
        limits: `body_bytes` holds for the whole body, `faces` for the number of files.

    Returns:
        At least one, in the order of the form.

    Raises:
        Refused: The body is too large, empty or no form.
    """
    try:
        if is_form(request):
            return await _form_files(request, limits)
        raw = b"".join([chunk async for chunk in _chunks(request, limits)])
    except ClientDisconnect as error:
        raise Refused(400, "the body ended too early") from error
    if not raw:
        raise Refused(400, "expected a picture as the body, received nothing")
    return [raw]


async def _form_files(request: Request, limits: Limits) -> list[bytes]:
    parser = _MemoryParser(
        request.headers, _chunks(request, limits), max_files=limits.faces, max_fields=16
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many") else 400
        raise Refused(status, f"the form cannot be read: {error.message}") from error
    except (KeyError, ValueError, LookupError) as error:
        # No boundary, an unknown character set.
        raise Refused(400, "the form cannot be read: its head is malformed") from error
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        pictures = [await file.read() for file in files]
    finally:
        await form.close()
    if not pictures:
        raise Refused(400, "expected at least one file in the form, received none")
    return pictures


async def _chunks(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limits.body_bytes:
            raise too_large(limits)
        yield chunk


def too_large(limits: Limits) -> Refused:
    """The answer to a body over the limit."""
    return Refused(413, f"body too large: expected at most {limits.body_bytes} bytes")
