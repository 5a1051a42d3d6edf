"""TLS for both ends: contexts with OpenADR's cipher list, and the certificates they are made of."""

from runtime.tls.contexts import CIPHERS, Certificate, client_context, server_context

__all__ = ["CIPHERS", "Certificate", "client_context", "server_context"]
