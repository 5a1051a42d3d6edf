"""EiReport in both directions: what VENs report, and what the VTN reports to them."""

from vtn.faces.openadr2.reports.incoming import Reporting
from vtn.faces.openadr2.reports.sourcing import Sourcing

__all__ = ["Reporting", "Sourcing"]
