"""One line per unit of work: JSON for machines, the same for our loggers and the standard library's."""

import json
import subprocess
import sys

import pytest

PROCESS = """
import logging, structlog
from runtime.logs import configure, get_logger

log = get_logger("ledger.replica")
configure("dr-ledger", json={json})
structlog.contextvars.bind_contextvars(dr_event_id="e-1")
log.info("block committed", height=7)
logging.getLogger("some.library").warning("odd %s", "thing")
log.debug("not shown")
def open_database(password):
    1 / 0

try:
    open_database("".join(["hun", "ter2"]))
except ZeroDivisionError:
    log.exception("failed")
"""


def lines_of(json_format):
    program = PROCESS.format(json=json_format)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_every_line_is_json_with_process_time_level_and_bound_ids():
    ours, library, failure = map(json.loads, lines_of(None))
    timestamp = ours.pop("timestamp")
    assert timestamp.endswith("Z")
    assert ours == {
        "event": "block committed",
        "height": 7,
        "level": "info",
        "logger": "ledger.replica",
        "process": "dr-ledger",
        "dr_event_id": "e-1",
    }
    assert (library["event"], library["logger"], library["process"]) == ("odd thing", "some.library", "dr-ledger")
    assert failure["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_the_pretty_form_is_for_people():
    first = lines_of(False)[0]
    assert "block committed" in first
    assert not first.startswith("{")


@pytest.mark.parametrize("json_format", [True, False])
def test_a_traceback_names_the_place_and_no_value_of_a_variable(json_format):
    failure = "\n".join(lines_of(json_format))
    assert "open_database" in failure
    assert "hunter2" not in failure


def test_a_program_that_never_configures_keeps_its_stdout_clean():
    """A command prints JSON on stdout; a warning of a library it uses must not get in between."""
    code = "from runtime.logs import get_logger; get_logger('a').warning('following again'); print('{}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"
    assert "following again" in done.stderr
