"""The errors a user can mend, and how a command reports them."""

import gc
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches


class FerKerasError(Exception):
    """Base of every error with a one-line message for the user."""


class ConfigError(FerKerasError):
    """An experiment, option or argument that cannot be used as given."""


class DataError(FerKerasError):
    """A data set, file or picture that is missing, malformed or unreadable."""


class ModelFileError(FerKerasError):
    """A model file that is missing, damaged, untrusted or does not fit the data."""


class ExportError(FerKerasError):
    """An export that failed or did not pass its parity gate."""


class TrainingError(FerKerasError):
    """A training run that cannot go on, for instance because the loss is not finite."""


class Stopped(Exception):
    """Work that was ended on purpose, by a person or by what watches it; no failure."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint that ends an "unknown name" message.

    Args:
        name: What was asked for.
        known: The names that exist.

    Returns:
        `"Nearest: a, b."`, or `"Known: a, b, c."` where nothing is near.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(names)}."


def run_command(main: Callable[[], int]) -> None:
    """Runs the `main` of a command and ends the process.

    A `FerKerasError` becomes one line on stderr and exit code 2; an operating-system error (no
    space, no permission) likewise, with its path; Ctrl-C ends with 130.

    Args:
        main: Returns the exit code.
    """
    try:
        code = main()
    except FerKerasError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        code = 2
    # Python looks through all objects once more before it ends: with TensorFlow loaded, a second.
    gc.freeze()
    raise SystemExit(code)
