"""A replica's state from another member, where it cannot be executed again (fault rule 8).

    giving ── rows of one snapshot, at height G ──▶ taking ── hashed, rooted, digested ──▶ manifest of G
    every member ── signs what its own tables say of G ────────▶ a quorum signed the same? ──▶ committed

Nouns: manifest (what is signed), rows (the tables that travel), giving, taking, routes and asking (HTTP).
"""
