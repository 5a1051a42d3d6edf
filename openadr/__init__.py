"""OpenADR as data: a neutral model, its time semantics and the wire formats. No I/O."""
