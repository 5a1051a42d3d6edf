"""Witnessing of transparency logs (c2sp.org/tlog-witness), both ways; DESIGN.md tells how.

As a witness: `folder` (made once, loaded ever after), `cosigner` (what is signed), `record` (what was signed),
`service` (HTTP). As a log: `trust` (which witnesses), `client` (asks one), `feeding` (asks all, again and again).
"""
