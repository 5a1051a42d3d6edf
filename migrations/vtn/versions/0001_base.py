"""Programs, VENs, events, reports, message queues and the ledger outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _ledger_cursor()
    _ledger_outbox()
    _programs()
    _dr_events()
    _invitations()
    _vens()
    _dr_event_versions()
    _event_deliveries()
    _messages()
    _opts()
    _report_requests()
    _report_specifiers()
    _telemetry()


def _ledger_cursor() -> None:
    op.create_table(
        "ledger_cursor",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("reader"),
    )


def _ledger_outbox() -> None:
    op.create_table(
        "ledger_outbox",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="what the transaction is for; one key, one effect"),
        sa.Column("sender", sa.Text(), nullable=False, comment="party that signs"),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("transaction", sa.LargeBinary(), nullable=False, comment="canonical bytes of the sealed transaction"),
        sa.Column(
            "attempt", sa.Integer(), nullable=False, comment="counts seals: a new one only after the last one expired"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="pending, committed, refused"),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("index", sa.Integer(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("resolved_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("transaction_id"),
    )
    op.create_index(
        "ledger_outbox_open",
        "ledger_outbox",
        ["sequence"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )


def _programs() -> None:
    op.create_table(
        "programs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="counts changes of the terms from 1"),
        sa.Column("market_context", sa.Text(), nullable=False, comment="URI that names the program on the wire"),
        sa.Column("terms", sa.LargeBinary(), nullable=False, comment="ProgramTerms as JSON"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("market_context"),
    )


def _dr_events() -> None:
    op.create_table(
        "dr_events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="planned, published, cancelled"),
        sa.Column("modification_number", sa.Integer(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True, comment="null is open-ended"),
        sa.Column("canonical", sa.LargeBinary(), nullable=False, comment="openadr.model.canonical"),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program"],
            ["programs.name"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("dr_events_by_end", "dr_events", ["status", "end_ms"], unique=False)


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("code_digest", sa.Text(), nullable=False, comment="SHA-256 of the one-time code"),
        sa.Column("ven_id", sa.Text(), nullable=False, comment="the venID it will become"),
        sa.Column("ven_name", sa.Text(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("virtual_node", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=True, comment="the key that used it; it may ask again and again"),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["program"],
            ["programs.name"],
        ),
        sa.PrimaryKeyConstraint("code_digest"),
        sa.UniqueConstraint("ven_id"),
        sa.UniqueConstraint("ven_name"),
    )


def _vens() -> None:
    op.create_table(
        "vens",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("ven_name", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=True, comment="ledger party; null for a VEN without a ledger key"),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("area", sa.Text(), nullable=False, comment="feeder"),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("virtual_node", sa.Text(), nullable=True, comment="groupID on the wire; null until assigned"),
        sa.Column("status", sa.Text(), nullable=False, comment="enrolling, enrolled, refused, removed"),
        sa.Column("resource", sa.LargeBinary(), nullable=False, comment="Resource as JSON"),
        sa.Column(
            "registration_id", sa.Text(), nullable=True, comment="2.0b party registration; null when not registered"
        ),
        sa.Column("profile_name", sa.Text(), nullable=True),
        sa.Column("transport_name", sa.Text(), nullable=True),
        sa.Column("transport_address", sa.Text(), nullable=True, comment="where a push VEN is reached"),
        sa.Column("http_pull", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("report_only", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("poll_interval_s", sa.Integer(), nullable=False),
        sa.Column(
            "fingerprint",
            sa.Text(),
            nullable=True,
            comment="of the TLS client certificate, AA:BB:..; null while unbound",
        ),
        sa.Column("meter_r_id", sa.Text(), nullable=True, comment="the rID whose readings are the VEN's energy"),
        sa.Column("enrolled_ms", sa.BigInteger(), nullable=False),
        sa.Column("registered_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["program"],
            ["programs.name"],
        ),
        sa.PrimaryKeyConstraint("ven_id"),
        sa.UniqueConstraint("fingerprint"),
        sa.UniqueConstraint("party"),
        sa.UniqueConstraint("public_key"),
        sa.UniqueConstraint("registration_id"),
        sa.UniqueConstraint("ven_name"),
    )
    op.create_index(op.f("ix_vens_virtual_node"), "vens", ["virtual_node"], unique=False)


def _dr_event_versions() -> None:
    op.create_table(
        "dr_event_versions",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("modification_number", sa.Integer(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["dr_events.event_id"],
        ),
        sa.PrimaryKeyConstraint("event_id", "modification_number"),
    )


def _event_deliveries() -> None:
    op.create_table(
        "event_deliveries",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="queued, delivered, opted_in, opted_out"),
        sa.Column("modification_number", sa.Integer(), nullable=False, comment="the one last queued"),
        sa.Column("queued_ms", sa.BigInteger(), nullable=False),
        sa.Column("delivered_ms", sa.BigInteger(), nullable=True),
        sa.Column("answered_ms", sa.BigInteger(), nullable=True, comment="the VEN acknowledged this modification"),
        sa.Column(
            "late", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="answered after the start"
        ),
        sa.Column(
            "opt_id",
            sa.Text(),
            nullable=True,
            comment="of the oadrCreateOpt that decided; later oadrCreatedEvent is ignored (rule 206)",
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["dr_events.event_id"],
        ),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("event_id", "ven_id"),
    )
    op.create_index(op.f("ix_event_deliveries_ven_id"), "event_deliveries", ["ven_id"], unique=False)


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="event, create_report, cancel_report, cancel_registration, ..."
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="what the acknowledgement names: event id, request id"),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="arguments of the message as JSON"),
        sa.Column("queued_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "delivered_ms",
            sa.BigInteger(),
            nullable=True,
            comment="handed out last; again later while not acknowledged",
        ),
        sa.Column("deliveries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("acknowledged_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("ven_id", "kind", "key"),
    )
    op.create_index(
        "messages_open",
        "messages",
        ["ven_id", "sequence"],
        unique=False,
        postgresql_where=sa.text("acknowledged_ms IS NULL"),
    )


def _opts() -> None:
    op.create_table(
        "opts",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("opt_id", sa.Text(), nullable=False),
        sa.Column("opt_type", sa.Text(), nullable=False, comment="optIn, optOut"),
        sa.Column("opt_reason", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("modification_number", sa.Integer(), nullable=True),
        sa.Column(
            "schedule", sa.LargeBinary(), nullable=False, comment="availability, targets and device classes as JSON"
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("ven_id", "opt_id"),
    )


def _report_requests() -> None:
    op.create_table(
        "report_requests",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("report_request_id", sa.Text(), nullable=False),
        sa.Column("report_specifier_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="requested, running, cancelled"),
        sa.Column("granularity_s", sa.Integer(), nullable=False),
        sa.Column("report_back_s", sa.Integer(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=True, comment="readings are wanted from here on"),
        sa.Column("payloads", sa.LargeBinary(), nullable=False, comment="rIDs and reading types as JSON"),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("ven_id", "report_request_id"),
    )


def _report_specifiers() -> None:
    op.create_table(
        "report_specifiers",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("report_specifier_id", sa.Text(), nullable=False),
        sa.Column("report_name", sa.Text(), nullable=False),
        sa.Column(
            "descriptions", sa.LargeBinary(), nullable=False, comment="openadr.v2 ReportDescription list as JSON"
        ),
        sa.Column("registered_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("ven_id", "report_specifier_id"),
    )


def _telemetry() -> None:
    op.create_table(
        "telemetry",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("r_id", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False, comment="ok, estimated, bad, missing"),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("corrected_ms", sa.BigInteger(), nullable=True, comment="another value replaced the first"),
        sa.ForeignKeyConstraint(
            ["ven_id"],
            ["vens.ven_id"],
        ),
        sa.PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
    )
