"""The command line: wires the rooms together and prints; no logic of its own."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script: a user's error is one line and an exit code, never a traceback."""
    from earwitness.cli.app import app
    from earwitness.cli.output import complain
    from earwitness.model.errors import EarwitnessError

    try:
        app(prog_name="earwitness")
    except EarwitnessError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        complain("stopped; what was collected is kept. Go on with: earwitness run DIR --resume")
        sys.exit(1)
    except OSError as error:
        complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        sys.exit(2)


__all__ = ["main"]
