"""The XML document around a message: safe parsing, the schema, leniency towards real devices, signatures."""
