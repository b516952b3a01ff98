"""The `cryofound` command: nouns with verbs below them, each noun a module of `cryofound.commands`."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from cryofound.commands import (
    build,
    catalog,
    evaluate,
    interpolate,
    models,
    morph,
    plan,
    recipe,
    reference,
    reference_data,
    sample,
    score,
    store,
)
from cryofound.errors import CryoFoundError

NOUNS = (
    recipe,
    plan,
    catalog,
    reference,
    reference_data,
    build,
    score,
    evaluate,
    store,
    models,
    sample,
    interpolate,
    morph,
)
INTERRUPTED = 130  # what shells say of a program that was interrupted


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="cryofound", description="Protein motions learnt from cryo-EM density.")
    nouns = top.add_subparsers(required=True, metavar="NOUN")
    for noun in NOUNS:
        noun.add_to(nouns)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault; 130 if the user interrupts."""
    given = parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers stop programs by it
    try:
        given.run(given)
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
