"""From an exception to a text on standard error and an exit code: the one place that does it.

0    done
1    the job failed, or dbp has a bug (then the first line says so and names a log file)
2    something handed to dbp is wrong
130  interrupted
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dbp.cli.output import flush_results, talk
from dbp.errors import InputError, JobFailedError

DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


@contextmanager
def exit_codes() -> Iterator[None]:
    """Run a command; whatever it raises becomes a message and SystemExit with the exit code."""
    try:
        yield
        flush_results()
    except InputError as error:
        _leave(BAD_INPUT, f"error: {error}", error)
    except JobFailedError as error:
        _leave(FAILED, f"failed: {error}", error)
    except KeyboardInterrupt as error:
        _leave(INTERRUPTED, "interrupted", error)
    except BrokenPipeError:
        _silence_stdout()
        raise SystemExit(DONE) from None  # the reader has all it wanted (`dbp list | head -1`)
    except MemoryError:
        _leave(FAILED, "failed: not enough memory for this command; nothing that was already on disk is lost")
    except Exception as error:
        _leave(FAILED, _bug_report(error))


def answer(code: int) -> None:
    """End with an exit code that is the command's answer (`dbp diff`: 1, they differ), and no error. Raises SystemExit."""
    flush_results()
    _end(code)


def _leave(code: int, message: str, error: BaseException | None = None) -> None:
    talk("\n".join([message, *getattr(error, "__notes__", ())]))  # notes: what a command knows beyond the error itself
    _end(code)


def _end(code: int) -> None:
    if "ray" in sys.modules or "pyarrow" in sys.modules:
        # The error's frames may hold arrays that lie in Ray's shared memory. Ray is stopped by now; freeing them while the
        # interpreter shuts down can be a segmentation fault (seen with ray 2.60). And once in some dozens of runs it ends in an
        # abort where a table was read (pyarrow 26 was loaded; whose thread it is was not found out). Our exit code must stand.
        _silently(sys.stdout.flush)
        _silently(sys.stderr.flush)
        os._exit(code)
    raise SystemExit(code) from None


def _silently(act: Callable[[], None]) -> None:
    with suppress(OSError, ValueError):
        act()


def _silence_stdout() -> None:
    """Point standard output at nothing: the interpreter flushes it once more on its way out and would complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _bug_report(error: Exception) -> str:
    what = f"{type(error).__name__}: {error}".split("\n", 1)[0]
    return f"this is a bug in dbp, not a mistake of yours: {what}\nthe details are in {_write_log(error)}; please report them"


def _write_log(error: Exception) -> str:
    from dbp import __version__

    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"dbp-bug-{stamp}-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(f"dbp {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
            log.write(f"arguments: {sys.argv[1:]!r}\nfolder: {os.getcwd()}\n\n")
            log.writelines(traceback.format_exception(error))
    except OSError as problem:
        talk("".join(traceback.format_exception(error)))
        return f"the lines above (no log file could be written: {problem})"
    return log.name
