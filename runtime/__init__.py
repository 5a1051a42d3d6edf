"""What every process needs: clock, keys, settings, logs, service pieces, TLS and PostgreSQL. Knows no domain."""
