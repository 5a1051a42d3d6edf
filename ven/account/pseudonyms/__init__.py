"""Another id on the ledger in each billing period, without anybody's hand."""

from ven.account.pseudonyms.turning import Turned, Turning, finish_turn

__all__ = ["Turned", "Turning", "finish_turn"]
