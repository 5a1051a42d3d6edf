"""The migrations give the tables the program works with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from vtn.aggregator import records
from vtn.aggregator.virtual_nodes.groups import records as groups
from vtn.analytics import runs
from vtn.analytics.proposing import records as proposals
from vtn.analytics.service import marks
from vtn.auth import audit, certificates, consent, gate, replay
from vtn.records import contacts
from vtn.records.tables import metadata
from vtn.upstream import records as upstream


def test_migrations_and_tables_agree(vtn_url):
    modules = (
        records, groups, audit, certificates, consent, contacts, gate, marks,
        proposals, replay, runs, upstream,
    )  # fmt: skip
    for module in modules:
        assert module.metadata is metadata, "all tables belong to one schema"
    engine = sa.create_engine(vtn_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": "alembic_version_vtn"}
        )
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []
