"""An answer other than faces: one line of JSON, `{"error": "..."}`."""

from collections.abc import Mapping

from starlette.responses import JSONResponse


class Refused(Exception):
    """A request that is not answered, and why.

    Args:
        status: Of HTTP, 400 to 599.
        message: One line: what was expected, what was received.
        headers: To add to the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        return error_response(self.status, self.message, self.headers)


def error_response(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """One line of JSON.

    Args:
        status: Of HTTP.
        message: Line breaks in it become spaces.
        headers: To add.
    """
    line = " ".join(message.split())
    return JSONResponse({"error": line}, status, dict(headers) if headers else None)
