"""What a command prints on stdout for programs: all of it, or an error and an exit code.

`print` believes its stream. An unbuffered one (PYTHONUNBUFFERED) asks the system once and forgets what was not taken: a
reader that is slow, and a process that is stopped and continued meanwhile, or a pipe that does not block, cut the text
at some multiple of the pipe's size, and the command ends with 0.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from pathlib import Path
from typing import Final

from runtime.errors import GridpactError

_PART: Final = 1 << 16


class OutputLost(GridpactError):
    """Who reads stdout went away before everything was written."""


def print_whole(text: str) -> None:
    """`text` and a line end on stdout, however slow the reader is. Raises OutputLost."""
    stream = sys.stdout
    try:
        stream.flush()
        descriptor = stream.fileno()
    except BrokenPipeError:
        raise _lost() from None
    except (AttributeError, OSError, ValueError):  # a test's or an embedding program's own stream
        stream.write(text + "\n")
        stream.flush()
        return
    line_end = "\r\n" if sys.platform == "win32" else "\n"
    data = (text + "\n").replace("\n", line_end).encode(stream.encoding or "utf-8", errors="backslashreplace")
    left = memoryview(data)
    while left:
        try:
            written = os.write(descriptor, left[:_PART])
        except BlockingIOError:
            select.select([], [descriptor], [])
            continue
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                raise _lost() from None
            raise
        left = left[written:]


def _lost() -> OutputLost:
    # the interpreter would flush it again at its end, and complain
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    return OutputLost("the output was not read to its end: who reads it went away")
