"""Certificates of VENs, who signs, nonces, consents, and an audit that can only grow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "certificates",
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="OpenADR's: AA:BB:.. of 10 bytes"),
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False, index=True),
        sa.Column("status", sa.Text(), nullable=False, comment="active, superseded, revoked"),
        sa.Column("source", sa.Text(), nullable=False, comment="issued, imported"),
        sa.Column(
            "key_digest",
            sa.Text(),
            index=True,
            comment="SHA-256 of the public key; null where only the fingerprint came",
        ),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), comment="PEM, as the device got it"),
        sa.Column("not_after_ms", sa.BigInteger(), comment="wall clock; null where only the fingerprint is known"),
        sa.Column("bound_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.Column("ended_ms", sa.BigInteger(), comment="superseded or revoked, wall clock"),
        sa.Column("reason", sa.Text()),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("fingerprint"),
    )
    op.create_index("certificates_changed", "certificates", ["changed_at"])
    # what was bound before this table existed
    op.execute(
        "INSERT INTO certificates (fingerprint, ven_id, status, source, subject, bound_ms) "
        "SELECT fingerprint, ven_id, 'active', 'imported', '', enrolled_ms FROM vens WHERE fingerprint IS NOT NULL"
    )
    op.create_table(
        "signing_vens",
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False, comment="both sides sign"),
        sa.PrimaryKeyConstraint("ven_id"),
    )
    op.create_table(
        "nonces",
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="16 bytes of SHA-256 over signer and nonce"),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("nonces_by_expiry", "nonces", ["expires_ms"])
    _consents()
    _audit()


def _consents() -> None:
    op.create_table(
        "consents",
        sa.Column("consent_id", sa.Text(), nullable=False),
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False),
        sa.Column("grantee", sa.Text(), nullable=False, comment="a role"),
        sa.Column("scope", sa.Text(), nullable=False, comment="readings"),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("granted_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False, comment="what was signed, or where the paper is"),
        sa.Column("signature", sa.Text(), comment="hex, by the home's ledger key; null for a paper"),
        sa.Column("revoked_ms", sa.BigInteger()),
        sa.Column("revocation", sa.LargeBinary(), comment="the home's signed revocation as JSON; null by the operator"),
        sa.PrimaryKeyConstraint("consent_id"),
    )
    op.create_index("consents_by_ven", "consents", ["ven_id", "grantee"])


def _audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("actor", sa.Text(), nullable=False, comment="vtn, operator:<user>, ven:<venID>"),
        sa.Column("act", sa.Text(), nullable=False, comment="certificate_issued, ven_approved, ..."),
        sa.Column("subject", sa.Text(), nullable=False, comment="whom or what it was done to: a venID"),
        sa.Column("detail", sa.LargeBinary(), nullable=False, comment="JSON"),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("audit_entries_by_subject", "audit_entries", ["subject", "sequence"])
    op.execute(
        "CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit can only grow'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()"
    )
