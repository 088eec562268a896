"""The command line, ``lvm ...``: a thin layer over ``lvm.pipeline`` and the flows.

Contract: every named error is one line on stderr. The exit code is 2 for an invalid request, 1 for failed work, 130 for
Ctrl-C. Modules here import heavy packages only inside commands, so that ``lvm --help`` is quick.
"""

from __future__ import annotations

import gc
import signal
import sys

import typer
from rich.text import Text

from lvm.cli import database, inverters, models, spaces, stages, texts, tools
from lvm.cli.common import err
from lvm.cli.surroundings import exempt
from lvm.errors import LvmError, visible

STOPPED = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C stopped."""

_terminal = sys.stdout.isatty()
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _terminal else None,  # in a pipe, help has no boxes, and no sentence is cut
    context_settings={} if _terminal else {"terminal_width": 160},
    help="Latent vector models, end to end.",
)
stages.add_to(app)
models.add_to(app)
texts.add_to(app)
spaces.add_to(app)
inverters.add_to(app)
database.add_to(app)
tools.add_to(app)


def main() -> None:
    """Run a command. Turn errors into one line and an exit code."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # so that a training run is marked as interrupted
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        exempt()
        code = app(standalone_mode=False)
        if isinstance(code, int):  # typer returns a command's exit code instead of raising it, and 130 for Ctrl-C
            if code == STOPPED:
                raise KeyboardInterrupt
            sys.exit(code)
    except LvmError as error:
        err.print(Text(type(error).__name__, "bold red"), end=": ")
        err.print(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped; run the same command again and it goes on from where it was")
        sys.exit(STOPPED)
    except Exception as error:
        from typer._click.exceptions import ClickException  # typer carries its own click and exports no base class

        if isinstance(error, ClickException):
            error.message = visible(error.message)
            error.show()
            sys.exit(error.exit_code)
        raise
    finally:
        gc.freeze()  # or the interpreter searches all that was imported for garbage before it ends: two seconds
