"""Who may do what: certificates and their authority, signatures, replay, consents, permissions, and the audit of it."""
