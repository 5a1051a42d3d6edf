"""What the VTN does, whatever protocol asks: programs, events, VENs, enrolment, reports, telemetry, ledger outbox."""
