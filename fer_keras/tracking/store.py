"""MLflow's database file: made whole or not at all, however many trainings start at once.

MLflow makes its tables and then changes them some forty times. Two processes that do so in one new
file, or one that is killed on the way, leave a file that MLflow refuses for ever. So the file is
made under another name, by one process at a time, and gets its name when it is complete.
"""

import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import locked

_SQLITE = "sqlite:///"
# What MLflow's changes leave behind when they are broken off.
_UNFINISHED = "_alembic_tmp_"


def prepare_store(uri: str) -> None:
    """Makes a new database file, or puts a half-made one without any run out of the way first.

    Args:
        uri: Of `tracker.store_uri`; anything but a database file is left to MLflow.

    Raises:
        ConfigError: The file was left half-made, and holds runs.
        OSError: The file cannot be written.
    """
    if not uri.startswith(_SQLITE) or "?" in uri or ":memory:" in uri:
        return
    database = Path(uri.removeprefix(_SQLITE)).absolute()
    if database.is_file() and _state(database) == "whole":
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(database.with_name(f".{database.name}.lock")):
        state = _state(database)
        if state == "whole":
            return
        if state == "half with runs":
            check_whole(database)
        if state == "half":
            _put_aside(database)
        _make(database)


def missing_database(uri: str) -> Path | None:
    """The database file that MLflow would make anew.

    Args:
        uri: Of `tracker.store_uri`.

    Returns:
        Its absolute path; None where the store is there, or is no file.
    """
    if not uri.startswith(_SQLITE) or "?" in uri or ":memory:" in uri:
        return None
    database = Path(uri.removeprefix(_SQLITE)).absolute()
    return None if database.is_file() else database


def check_whole(database: Path) -> None:
    """Refuses a database file that MLflow cannot open, with what to do.

    Args:
        database: The file.

    Raises:
        ConfigError: It was left half-made.
    """
    state = _state(database)
    if state == "whole":
        return
    if state == "half with runs":
        raise ConfigError(
            "MLflow's store was left half-made by a process that was killed or met another one, "
            "and holds runs. Put it out of the way, then go on with a new one; the run folders "
            f"have everything. Type: mv {database} {database}.broken"
        )
    raise ConfigError(
        "MLflow's store was left half-made by a process that was killed or met another one, and "
        f"holds no run. Train something, which makes it anew: {database}"
    )


def _state(database: Path) -> str:
    """`whole`, `half`, `half with runs`, or `new` where there is no file or an empty one."""
    if not database.is_file() or not database.stat().st_size:
        return "new"
    try:
        reader = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20)
        with contextlib.closing(reader) as connection:
            rows = connection.execute("select name from sqlite_master where type = 'table'")
            tables = {str(name) for (name,) in rows}
            versions = (
                connection.execute("select count(*) from alembic_version").fetchone()[0]
                if "alembic_version" in tables
                else 0
            )
            runs = (
                connection.execute("select count(*) from runs").fetchone()[0]
                if "runs" in tables
                else 0
            )
    except sqlite3.Error:
        # No database, or one that cannot be read now: MLflow says what is wrong with it.
        return "whole"
    if versions and not any(name.startswith(_UNFINISHED) for name in tables):
        return "whole"
    return "half with runs" if runs else "half"


def _put_aside(database: Path) -> None:
    number = 1
    while (aside := database.with_name(f"{database.name}.half-made-{number}")).exists():
        number += 1
    database.rename(aside)
    # A journal beside a new database of this name would be played back into it.
    for suffix in ("-journal", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + suffix).rename(aside.with_name(aside.name + suffix))
    print(
        f"warning: MLflow's store was half-made and held no run; it is made anew. The old file: "
        f"{aside}",
        file=sys.stderr,
    )


def _make(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = database.with_name(f".{database.name}.{os.getpid()}.tmp")
    try:
        store = SqlAlchemyStore(f"{_SQLITE}{temporary}", (database.parent / "mlruns").as_uri())
        # Closes the file, so that nothing of it is left in a journal.
        store.engine.dispose()
        if database.exists() and not database.stat().st_size:
            database.unlink()
        # A link takes the name only where no other process has, on systems without locks too.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, database)
    except OSError:
        if not temporary.exists() or database.exists():
            raise
        os.replace(temporary, database)  # A file system without links.
    finally:
        for path in database.parent.glob(f"{temporary.name}*"):
            path.unlink(missing_ok=True)
