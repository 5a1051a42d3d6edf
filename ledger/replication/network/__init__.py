"""The peer API: what a member answers (reception), over HTTP with certificates of both sides (listener, client)."""
