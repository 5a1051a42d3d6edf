"""`dr-ven`: join a VTN, run a home or many simulated ones, look at them, and check proofs without a network.

Exit codes: 0 done, 1 not carried out, 2 usage, settings or key files, 3 not enrolled or no usable store, 4 enrolment
refused, 5 VTN or ledger not reached, 6 refused by VTN or ledger, 7 proof refused, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from runtime.errors import GridpactError
from ven.cli import choosing, experience, joining, running, schedules, verifying, vtn

app = typer.Typer(
    name="dr-ven",
    help="The VEN: a home agent that takes part in demand response by its owner's rules and proves its payments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
verify_app = typer.Typer(help="Check a proof from files alone: no network, no database.", no_args_is_help=True)
app.add_typer(verify_app, name="verify")
schedule_app = typer.Typer(help="When the owner takes no part, or does, planned ahead.", no_args_is_help=True)
app.add_typer(schedule_app, name="opt-schedule")
reports_app = typer.Typer(help="The VTN as a source of reports: what it offers and sends.", no_args_is_help=True)
app.add_typer(reports_app, name="vtn-reports")
for command in (
    joining.enrol,
    joining.certificate,
    joining.consents,
    running.run,
    running.simulate,
    running.status,
    experience.flexibility,
    choosing.opt_out,
    choosing.opt_in,
    choosing.limits,
    running.check,
    vtn.registration,
):
    app.command()(command)
verify_app.command("event")(verifying.verify_event)
verify_app.command("payment")(verifying.verify_payment)
schedule_app.command("add")(schedules.add)
schedule_app.command("list")(schedules.show)
schedule_app.command("cancel")(schedules.cancel)
reports_app.command("list")(vtn.list_reports)
reports_app.command("ask")(vtn.ask_report)
reports_app.command("cancel")(vtn.cancel_report)


def main() -> None:
    """Runs the command line; an error is one sentence on stderr and a stable exit code."""
    try:
        app()
    except GridpactError as error:
        typer.echo(f"dr-ven: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"dr-ven: a file or folder cannot be used: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
