"""The open VTN: everything a face, the aggregator or a command works with, built once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from contracts.core.parties import Role
from ledger.client import LedgerClient, party_id
from runtime.clock import Clock
from runtime.database import check_schema, create_engine, upgrade
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey
from runtime.postgres import postgres
from vtn.auth.audit import Audit
from vtn.auth.certificates import Certificates
from vtn.auth.consent import Consents
from vtn.auth.gate import Signing
from vtn.auth.series import Series
from vtn.config import VtnSettings
from vtn.errors import NotFound
from vtn.records.contacts import Contacts
from vtn.records.database import Database
from vtn.services.dr_events import DrEvents
from vtn.services.enrolment import Enrolments, Invitation
from vtn.services.ledger_outbox import LedgerOutbox
from vtn.services.opts import Opts
from vtn.services.programs import Programs
from vtn.services.pseudonyms import Pseudonyms
from vtn.services.registrations import Registrations
from vtn.services.reports import Collected, Reports, ReportSource
from vtn.services.telemetry import Telemetry
from vtn.services.vens import Vens

DATABASE = "vtn"


@dataclass(frozen=True, kw_only=True)
class Vtn:
    """An open VTN. `key` and `party` are the aggregator's, `ledger` its client."""

    settings: VtnSettings
    clock: Clock
    database_url: str
    database: Database
    key: PrivateKey
    party: str
    ledger: LedgerClient
    ledger_outbox: LedgerOutbox
    programs: Programs
    audit: Audit
    certificates: Certificates
    consents: Consents
    signing: Signing
    series: Series
    vens: Vens
    enrolments: Enrolments
    pseudonyms: Pseudonyms
    registrations: Registrations
    dr_events: DrEvents
    opts: Opts
    contacts: Contacts
    reports: Reports
    telemetry: Telemetry
    collected: Collected
    report_source: ReportSource

    async def policy(self) -> str:
        """The trust file a VEN verifies proofs with. Raises LedgerUnavailable."""
        if self.settings.ledger_policy is not None:
            return self.settings.ledger_policy.read_text(encoding="utf-8")
        return (await self.ledger.policy()).decode("utf-8")

    async def invite(self, ven_name: str, area: str, program: str, *, virtual_node: str | None = None) -> Invitation:
        """Invite a VEN; the result is what its owner is given. Raises Conflict, NotFound, InvalidInput."""
        terms = (await self.programs.get(program)).terms
        code, expires_ms = await self.enrolments.invite(ven_name, area, program, virtual_node=virtual_node)
        return Invitation(
            vtn_url=self.settings.enrolment_url,
            openadr2_url=self.settings.openadr2_url,
            ledger_url=self.settings.ledger_url,
            code=code,
            ven_name=ven_name,
            area=area,
            sponsor=self.party,
            channel=self.settings.channel,
            site_zone=terms.zone,
            program=program,
            holidays=terms.holidays,
            expires_ms=expires_ms,
            authorities=self.settings.pki.ca.read_text(encoding="ascii") if self.settings.pki.exists else None,
        )


@contextlib.asynccontextmanager
async def open_vtn(settings: VtnSettings, *, attach: bool = False) -> AsyncIterator[Vtn]:
    """The VTN for the time of the block. With `attach` the PostgreSQL of a running `serve` is used.

    Raises StaleSchema, KeyFileError (no aggregator key yet), PostgresError, ClockFileError.
    """
    clock = settings.clock()
    if not settings.aggregator_key_file.exists():
        raise KeyFileError(
            f"there is no private key at {settings.aggregator_key_file}: make one with `dr-vtn init`, "
            f"or name its folder: --data-dir"
        )
    key = PrivateKey.load(settings.aggregator_key_file)
    party = party_id(Role.AGGREGATOR, key.public)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(open_database(settings, attach=attach))
        engine = create_engine(url, application_name="dr-vtn")
        stack.push_async_callback(engine.dispose)
        await check_schema(engine, "vtn")
        ledger = await stack.enter_async_context(
            LedgerClient(settings.ledger_url, channel=settings.channel, key=key, party=party, clock=clock)
        )
        yield build(settings, clock=clock, database_url=url, database=Database(engine), key=key, ledger=ledger)


def build(
    settings: VtnSettings, *, clock: Clock, database_url: str, database: Database, key: PrivateKey, ledger: LedgerClient
) -> Vtn:
    """The services over what is open already."""
    outbox = LedgerOutbox(database, clock)
    party = party_id(Role.AGGREGATOR, key.public)
    certificates = Certificates(
        database, clock, settings.pki, organisation=settings.vtn_id, days=settings.certificate_days
    )
    vens = Vens(database, clock, certificates, poll_interval_s=settings.poll_interval_s)
    consents = Consents(database, clock, sponsor=party)
    telemetry = Telemetry(database, clock)
    return Vtn(
        settings=settings,
        clock=clock,
        database_url=database_url,
        database=database,
        key=key,
        party=party,
        ledger=ledger,
        ledger_outbox=outbox,
        programs=Programs(database, clock),
        audit=Audit(database),
        certificates=certificates,
        consents=consents,
        signing=Signing(database),
        series=Series(vens, telemetry, consents),
        vens=vens,
        enrolments=Enrolments(
            database,
            clock,
            outbox,
            ledger,
            certificates,
            consents,
            approval=settings.enrolment_approval,
            credit_minor=settings.enrolment_credit_minor,
            poll_interval_s=settings.poll_interval_s,
        ),
        pseudonyms=Pseudonyms(database, clock, outbox, sponsor=party, credit_minor=settings.enrolment_credit_minor),
        registrations=Registrations(
            database, clock, require_certificate=settings.identifies, offer_reports=settings.offer_reports
        ),
        dr_events=DrEvents(database, clock),
        opts=Opts(database, clock),
        contacts=Contacts(database, clock),
        reports=Reports(database, clock),
        telemetry=telemetry,
        collected=Collected(database, clock),
        report_source=ReportSource(database, clock),
    )


@contextlib.asynccontextmanager
async def open_database(settings: VtnSettings, *, attach: bool = False) -> AsyncIterator[str]:
    """The URL of the VTN's database for the time of the block. Raises PostgresError."""
    folder = settings.data_dir / "postgres"
    async with postgres(
        settings.database_url, folder, DATABASE, binaries=settings.postgres_binaries, attach=attach
    ) as url:
        yield url


async def migrate(settings: VtnSettings) -> None:
    """Bring the tables of the VTN to the newest version: `dr-vtn migrate`. Raises PostgresError, SchemaError."""
    async with open_database(settings, attach=True) as url:
        await upgrade(url, "vtn")


async def only_program(vtn: Vtn) -> str:
    """The name of the program where there is one only. Raises NotFound."""
    names = [program.name for program in await vtn.programs.list()]
    if len(names) != 1:
        raise NotFound("program_unknown", f"name a program: there are {', '.join(names) or 'none'}")
    return names[0]
