"""The ledger's HTTP interface, below `/v1/channels/{channel}`:

    POST transactions            a batch; one result each, in order (202 while one is unknown); ?wait=final
    GET  transactions/{id}       what became of one
    GET  records/{kind}/{key}    one record of the state;  records/{kind}?prefix=&after=&limit=  a page of them
    GET  facts?after=&party=&contract=&limit=     a page, or with Accept: text/event-stream all of them and each new one
    GET  proofs/{id}?fact=n      proof and opening for ledger.verify;  policy  whom to believe
    GET  proofs/at/{index}?fact=n             the same of the entry at a leaf: deadlines have no id
    GET  proofs/records/{kind}/{key}?read=    of a record as it is now, or of its absence
    GET  checkpoint, tile/...    the log as C2SP tlog-tiles;  status;  refusals

Each result says how many members attested it and whether it is final; proofs and the checkpoint are of what is final
(409 not-final-yet before). Reads are local, or with ?read=leader linearizable; the headers Ledger-Height and
Ledger-Final-Height say how far the replica is.

The first channel is for everybody. A restricted one (all others that are sealed) is read by signed requests of its
parties and members: ledger.api.access; transactions are taken from everybody, as they are signed themselves.

Every error is an RFC 9457 problem. Nothing here decides anything: rules are the contracts', order and storage the
replica's.
"""

from ledger.api.context import LIMITS, METRICS, PLAIN, REPLICAS, STREAMS, Limits, Streams
from ledger.api.routes import add_routes

__all__ = ["LIMITS", "METRICS", "PLAIN", "REPLICAS", "STREAMS", "Limits", "Streams", "add_routes"]
