"""OpenADR as data: the neutral event model, its time semantics, and the wire formats. No I/O, no clock."""
