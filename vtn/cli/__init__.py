"""`dr-vtn`: run the aggregator's VTN and look after programs, homes, events, needs and statements.

Exit codes: 0 done, 1 not carried out, 2 usage, settings or key files, 3 schema, 4 PostgreSQL, 5 ledger not reached,
6 refused by the ledger, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from runtime.errors import GridpactError
from vtn.cli import dispatch, events, needs, programs, registrations, reports, service, vens
from vtn.cli.access import admission, consents, pki
from vtn.cli.analytics import backtest, cluster, kept_forecasts, kept_proposals, new_forecast
from vtn.cli.nodes import figures as node_figures
from vtn.cli.nodes import groups as nodes
from vtn.cli.schedule import command as schedule
from vtn.cli.upstream import commands as upstream

app = typer.Typer(
    name="dr-vtn",
    help="The VTN: an aggregator that turns a utility's need into demand-response events, contracts and payments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (service.init, service.migrate, service.serve, service.check):
    app.command()(command)
app.add_typer(programs.app, name="programs")
app.add_typer(vens.app, name="vens")
for admit in (
    admission.add, admission.approve, admission.reject, admission.bind, admission.certificates, admission.revoke,
    admission.reinstate, admission.sign,
):  # fmt: skip
    vens.app.command()(admit)
app.add_typer(pki.app, name="pki")
app.add_typer(consents.app, name="consents")
app.add_typer(consents.readings_app, name="readings")
app.command()(consents.audit)
app.add_typer(registrations.app, name="registrations")
app.add_typer(events.app, name="events")
app.add_typer(reports.app, name="reports")
app.add_typer(needs.app, name="needs")
app.add_typer(nodes.app, name="nodes")
for figure in (
    node_figures.capability, node_figures.status, node_figures.forecast, node_figures.dispatch,
    node_figures.absorption, node_figures.profiles,
):  # fmt: skip
    nodes.app.command()(figure)
app.add_typer(upstream.app, name="upstream")
app.command()(needs.statements)
app.command()(dispatch.dispatch)
app.command()(schedule.schedule)

for study in (new_forecast.forecast, backtest.backtest, cluster.cluster):
    app.command()(study)
app.add_typer(kept_forecasts.app, name="forecasts")
app.add_typer(kept_proposals.app, name="proposals")


def main() -> None:
    """Runs the command line; an error is one sentence on stderr and a stable exit code."""
    try:
        app()
    except GridpactError as error:
        typer.echo(f"dr-vtn: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"dr-vtn: a file or folder cannot be used: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
