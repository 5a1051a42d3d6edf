"""The tables of the VTN.

    programs                         vens ── invitations
       │                              ├── messages            what a VEN is to be told, until it acknowledges
    dr_events ── dr_event_versions    ├── report_specifiers ── report_requests ── telemetry
       └── event_deliveries ──────────┤                  └── measurements, resource_states, green_button_feeds
                                      ├── source_requests     reports the VEN asked the VTN for
                                      └── opts
    ledger_outbox                    sealed transactions, until the ledger answered
    ledger_cursor                    how far facts were followed, by reader

Times are epoch milliseconds of the domain clock (`_ms`), energy is integer Wh (import > 0, export < 0), JSON columns
hold canonical bytes or plain JSON text. The aggregator's tables are in `vtn.aggregator`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

programs = Table(
    "programs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="counts changes of the terms from 1"),
    Column("market_context", Text, nullable=False, unique=True, comment="URI that names the program on the wire"),
    Column("terms", LargeBinary, nullable=False, comment="ProgramTerms as JSON"),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

vens = Table(
    "vens",
    metadata,
    Column("ven_id", Text, primary_key=True),
    Column("ven_name", Text, nullable=False, unique=True),
    Column("party", Text, unique=True, comment="ledger party; null for a VEN without a ledger key"),
    Column("public_key", Text, unique=True),
    Column("area", Text, nullable=False, comment="feeder"),
    Column("program", Text, ForeignKey("programs.name"), nullable=False),
    Column("virtual_node", Text, index=True, comment="groupID on the wire; null until assigned"),
    Column("status", Text, nullable=False, comment="enrolling, enrolled, refused, removed"),
    Column("resource", LargeBinary, nullable=False, comment="Resource as JSON"),
    Column("registration_id", Text, unique=True, comment="2.0b party registration; null when not registered"),
    Column("profile_name", Text),
    Column("transport_name", Text),
    Column("transport_address", Text, comment="where a push VEN is reached"),
    Column("http_pull", Boolean, nullable=False, server_default=text("true")),
    Column("report_only", Boolean, nullable=False, server_default=text("false")),
    Column("poll_interval_s", Integer, nullable=False),
    Column("fingerprint", Text, unique=True, comment="of the TLS client certificate, AA:BB:..; null while unbound"),
    Column("meter_r_id", Text, comment="the rID whose readings are the VEN's energy"),
    Column("enrolled_ms", BigInteger, nullable=False),
    Column("registered_ms", BigInteger),
)

invitations = Table(
    "invitations",
    metadata,
    Column("code_digest", Text, primary_key=True, comment="SHA-256 of the one-time code"),
    Column("ven_id", Text, nullable=False, unique=True, comment="the venID it will become"),
    Column("ven_name", Text, nullable=False, unique=True),
    Column("area", Text, nullable=False),
    Column("program", Text, ForeignKey("programs.name"), nullable=False),
    Column("virtual_node", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("public_key", Text, comment="the key that used it; it may ask again and again"),
    Column("used_ms", BigInteger),
)

dr_events = Table(
    "dr_events",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("program", Text, ForeignKey("programs.name"), nullable=False),
    Column("status", Text, nullable=False, comment="planned, published, cancelled"),
    Column("modification_number", Integer, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, comment="null is open-ended"),
    Column("canonical", LargeBinary, nullable=False, comment="openadr.model.canonical"),
    Column("digest", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("dr_events_by_end", "status", "end_ms"),
)

dr_event_versions = Table(
    "dr_event_versions",
    metadata,
    Column("event_id", Text, ForeignKey("dr_events.event_id"), nullable=False),
    Column("modification_number", Integer, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("event_id", "modification_number"),
)

event_deliveries = Table(
    "event_deliveries",
    metadata,
    Column("event_id", Text, ForeignKey("dr_events.event_id"), nullable=False),
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False, index=True),
    Column("state", Text, nullable=False, comment="queued, delivered, acknowledged, opted_in, opted_out"),
    Column("modification_number", Integer, nullable=False, comment="the one last queued"),
    Column("queued_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger),
    Column("answered_ms", BigInteger, comment="the VEN acknowledged this modification"),
    Column("late", Boolean, nullable=False, server_default=text("false"), comment="answered after the start"),
    Column("opt_id", Text, comment="of the oadrCreateOpt that decided; later oadrCreatedEvent is ignored (rule 206)"),
    Column("withdrawn", Boolean, nullable=False, server_default=text("false"), comment="cancelled for this VEN alone"),
    PrimaryKeyConstraint("event_id", "ven_id"),
)

opts = Table(
    "opts",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("opt_id", Text, nullable=False),
    Column("opt_type", Text, nullable=False, comment="optIn, optOut"),
    Column("opt_reason", Text, nullable=False),
    Column("event_id", Text),
    Column("modification_number", Integer),
    Column("schedule", LargeBinary, nullable=False, comment="availability, targets and device classes as JSON"),
    Column("created_ms", BigInteger, nullable=False),
    Column("cancelled_ms", BigInteger),
    PrimaryKeyConstraint("ven_id", "opt_id"),
)

report_specifiers = Table(
    "report_specifiers",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("report_specifier_id", Text, nullable=False),
    Column("report_name", Text, nullable=False),
    Column("descriptions", LargeBinary, nullable=False, comment="openadr.v2 ReportDescription list as JSON"),
    Column("registered_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "report_specifier_id"),
)

report_requests = Table(
    "report_requests",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("report_request_id", Text, nullable=False),
    Column("report_specifier_id", Text, nullable=False),
    Column("status", Text, nullable=False, comment="requested, running, completed, refused, cancelled"),
    Column("granularity_s", Integer, nullable=False),
    Column("report_back_s", Integer, nullable=False, comment="0: one report only (rule 324)"),
    Column("start_ms", BigInteger, comment="readings are wanted from here on"),
    Column("duration_s", Integer, comment="length of the period that is wanted; null or 0: no end"),
    Column("payloads", LargeBinary, nullable=False, comment="rIDs and reading types as JSON"),
    Column("requested_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "report_request_id"),
)

telemetry = Table(
    "telemetry",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("r_id", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("energy_wh", BigInteger, nullable=False),
    Column("quality", Text, nullable=False, comment="ok, estimated, bad, missing"),
    Column("received_ms", BigInteger, nullable=False),
    Column("corrected_ms", BigInteger, comment="another value replaced the first"),
    PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("r_id", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("interval_s", Integer, nullable=False, comment="0: a value at a moment"),
    Column("value", Text, nullable=False, comment="decimal string in the unit the VEN described"),
    Column("quality", Text, nullable=False, comment="ok, estimated, bad, missing"),
    Column("received_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
)

resource_states = Table(
    "resource_states",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("r_id", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("manual_override", Boolean, nullable=False),
    Column("load_control", LargeBinary, comment="LoadControlState as JSON"),
    Column("received_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
)

green_button_feeds = Table(
    "green_button_feeds",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("feed_digest", Text, nullable=False, comment="SHA-256 of the feed: the same one again is one"),
    Column("report_request_id", Text, nullable=False),
    Column("feed", Text, nullable=False, comment="Atom feed as XML"),
    Column("received_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "feed_digest"),
)

source_requests = Table(
    "source_requests",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("report_request_id", Text, nullable=False),
    Column("report_specifier_id", Text, nullable=False),
    Column("status", Text, nullable=False, comment="running, completed, cancelled"),
    Column("granularity_s", Integer, nullable=False),
    Column("report_back_s", Integer, nullable=False, comment="0: one report only (rule 324)"),
    Column("start_ms", BigInteger, nullable=False, comment="first interval that is wanted"),
    Column("end_ms", BigInteger, comment="null: no end"),
    Column("payloads", LargeBinary, nullable=False, comment="rIDs and reading types as JSON"),
    Column("reported_ms", BigInteger, nullable=False, comment="intervals before this were acknowledged"),
    Column("due_ms", BigInteger, comment="when the next report is due; null: none is"),
    Column("requested_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("ven_id", "report_request_id"),
    Index("source_requests_due", "due_ms", postgresql_where=text("due_ms IS NOT NULL")),
)

messages = Table(
    "messages",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("kind", Text, nullable=False, comment="event, create_report, cancel_report, cancel_registration, ..."),
    Column("key", Text, nullable=False, comment="what the acknowledgement names: event id, request id"),
    Column("payload", LargeBinary, nullable=False, comment="arguments of the message as JSON"),
    Column("queued_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger, comment="handed out last; again later while not acknowledged"),
    Column("deliveries", Integer, nullable=False, server_default=text("0")),
    Column("acknowledged_ms", BigInteger),
    Column("failures", Integer, nullable=False, server_default=text("0"), comment="pushes in a row that failed"),
    Column("not_before_ms", BigInteger, comment="not pushed before: somebody is at it, or it failed"),
    Column("last_error", Text, comment="what went wrong with the last push"),
    UniqueConstraint("ven_id", "kind", "key"),
    Index("messages_open", "ven_id", "sequence", postgresql_where=text("acknowledged_ms IS NULL")),
)

ledger_outbox = Table(
    "ledger_outbox",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True, comment="what the transaction is for; one key, one effect"),
    Column("sender", Text, nullable=False, comment="party that signs"),
    Column("transaction_id", Text, nullable=False, unique=True),
    Column("transaction", LargeBinary, nullable=False, comment="canonical bytes of the sealed transaction"),
    Column("attempt", Integer, nullable=False, comment="counts seals: a new one only after the last one expired"),
    Column("status", Text, nullable=False, comment="pending, committed, refused"),
    Column("code", Text),
    Column("height", BigInteger),
    Column("index", Integer),
    Column("created_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger),
    Index("ledger_outbox_open", "sequence", postgresql_where=text("status = 'pending'")),
)

ledger_cursor = Table(
    "ledger_cursor",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
)
