"""The one table of who may see what: role x object. Everybody who hands out data asks here.

`ALL`, `OWN` (what is about the asker alone), `CONSENTED` (homes whose consent names the role, while it lasts),
`NEVER`. Performing a contract (baselines, dispatch, settlement) is no role: the enrolment itself is the ground for it,
and what comes of it is shown under this table.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """In which capacity somebody asks."""

    OWNER = "owner"
    AGGREGATOR = "aggregator"
    VIRTUAL_NODE = "virtual_node"
    UTILITY = "utility"
    AUDITOR = "auditor"
    PUBLIC = "public"


class Subject(StrEnum):
    """What is asked for."""

    READINGS = "readings"
    AGGREGATED_READINGS = "aggregated_readings"
    ENROLMENT = "enrolment"
    CERTIFICATES = "certificates"
    CONSENTS = "consents"
    EVENTS = "events"
    STATEMENTS = "statements"
    AUDIT = "audit"


class Access(StrEnum):
    """How much of it is shown."""

    ALL = "all"
    OWN = "own"
    CONSENTED = "consented"
    NEVER = "never"


GRANTEES = (Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.UTILITY, Role.AUDITOR)
"""Roles a consent can name."""

AGGREGATED_HOMES_MIN = 5
"""Homes without which a sum says too much about one of them."""

_ALL, _OWN, _CONSENTED, _NEVER = Access.ALL, Access.OWN, Access.CONSENTED, Access.NEVER

_ROLES = (Role.OWNER, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.UTILITY, Role.AUDITOR, Role.PUBLIC)
_TABLE: dict[Subject, tuple[Access, ...]] = {
    #                             owner  aggregator   virtual_node utility      auditor      public
    Subject.READINGS:            (_OWN,  _CONSENTED,  _CONSENTED,  _CONSENTED,  _CONSENTED,  _NEVER),
    Subject.AGGREGATED_READINGS: (_ALL,  _ALL,        _ALL,        _ALL,        _ALL,        _NEVER),
    Subject.ENROLMENT:           (_OWN,  _ALL,        _OWN,        _NEVER,      _NEVER,      _NEVER),
    Subject.CERTIFICATES:        (_OWN,  _ALL,        _NEVER,      _NEVER,      _ALL,        _NEVER),
    Subject.CONSENTS:            (_OWN,  _ALL,        _OWN,        _OWN,        _ALL,        _NEVER),
    Subject.EVENTS:              (_OWN,  _ALL,        _OWN,        _OWN,        _ALL,        _NEVER),
    Subject.STATEMENTS:          (_OWN,  _ALL,        _OWN,        _OWN,        _ALL,        _NEVER),
    Subject.AUDIT:               (_OWN,  _ALL,        _NEVER,      _NEVER,      _ALL,        _NEVER),
}  # fmt: skip

PERMISSIONS = MappingProxyType(
    {(role, subject): access for subject, row in _TABLE.items() for role, access in zip(_ROLES, row, strict=True)}
)
"""(role, subject) -> access, for every pair."""


def access(role: Role, subject: Subject) -> Access:
    """How much of `subject` is shown to `role`."""
    return PERMISSIONS[role, subject]
