"""The home agent: the OpenADR VEN, its devices and its wallet."""
