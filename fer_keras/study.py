"""Runs one study of `fer_keras/studies`: `python -m fer_keras.study NAME ...`."""

import argparse
import sys
from collections.abc import Sequence

from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import TRAINING, require_keras
from fer_keras.common.progress import progress
from fer_keras.common.quiet import load_keras
from fer_keras.studies import list_studies, study_module

_EXAMPLES = """examples:
  python -m fer_keras.study --list
  python -m fer_keras.study robustness --help
  python -m fer_keras.study robustness runs/NAME
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    words = sys.argv[1:] if argv is None else list(argv)
    # The first word chooses the study, whose own parser reads all that follow.
    if not words or words[0].startswith("-"):
        parser = argparse.ArgumentParser(
            prog="python -m fer_keras.study",
            usage="%(prog)s NAME ...",
            description="Study a trained model.",
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--list", action="store_true", help="list the studies")
        if not parser.parse_args(words).list:
            raise ConfigError(
                f"Expected the name of a study: {', '.join(list_studies())}. Received none."
            )
        studies = list_studies()
        width = max(len(name) for name in studies)
        for name, line in studies.items():
            print(f"{name:<{width}}  {line}")
        return 0
    module = study_module(words[0])
    parser = argparse.ArgumentParser(
        prog=f"python -m fer_keras.study {words[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    arguments = parser.parse_args(words[1:])
    require_keras(f"python -m fer_keras.study {words[0]}", *TRAINING)
    load_keras()
    with progress(f"study {words[0]}"):
        text = module.run(arguments)
    print(text)
    return 0


if __name__ == "__main__":
    run_command(main)
