"""Structured logging to stderr: one line per unit of work, with the ids that link it to other lines.

Pretty on a terminal, JSON otherwise. Lines of the standard library's loggers take the same form. A traceback shows
where, never the values of local variables: those hold one-time codes, URLs with passwords and keys.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

_QUIET = ("alembic", "asyncio", "aiohttp.access", "apscheduler", "openleadr")


def configure(process: str, json: bool | None = None, level: str = "info") -> None:
    """Set up logging once per process; every line carries `process`.

    `json` None means JSON unless stderr is a terminal. Ids bound by `structlog.contextvars` appear in each line.
    """
    if json is None:
        json = not sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    if json:
        shared.append(structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)))
    renderer: Processor = structlog.processors.JSONRenderer() if json else _console()
    # in place: a logger that was used before keeps this very list
    processors: list[Processor] = structlog.get_config()["processors"]
    processors[:] = [
        structlog.stdlib.filter_by_level,
        *shared,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; may be taken before `configure`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


# What is logged before `configure`, or by a command that never calls it, must not mix with what it prints on stdout.
structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
