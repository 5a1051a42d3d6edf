"""`make bench`: the ledger's figures."""

from tests.bench.ledger_bench import main

main()
