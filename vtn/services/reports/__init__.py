"""Reports in both directions: asked of VENs, what they brought besides energy, and the VTN as a source itself."""

from vtn.services.reports.collected import Collected, Measurement, ResourceState
from vtn.services.reports.requests import (
    CANCEL_MESSAGE,
    CREATE_MESSAGE,
    METADATA_MESSAGE,
    REQUESTED,
    STATUS_METADATA,
    USAGE_METADATA,
    MeteringPoint,
    Reports,
    RequestedReport,
    Specifier,
    end_requests,
    vens_with_resources,
)
from vtn.services.reports.source import (
    METADATA,
    R_ID,
    REGISTER_MESSAGE,
    SPECIFIERS,
    UPDATE_MESSAGE,
    ReportSource,
    SourceRequest,
    end_source_requests,
)

__all__ = [
    "CANCEL_MESSAGE",
    "CREATE_MESSAGE",
    "METADATA",
    "METADATA_MESSAGE",
    "REGISTER_MESSAGE",
    "REQUESTED",
    "R_ID",
    "SPECIFIERS",
    "STATUS_METADATA",
    "UPDATE_MESSAGE",
    "USAGE_METADATA",
    "Collected",
    "Measurement",
    "MeteringPoint",
    "ReportSource",
    "Reports",
    "RequestedReport",
    "ResourceState",
    "SourceRequest",
    "Specifier",
    "end_requests",
    "end_source_requests",
    "vens_with_resources",
]
