"""The demand-response contracts: needs, the two levels of contract, and their handshake.

    utility --RequestReduction--> need (budget in escrow)
    SC1  aggregator -> virtual node   SetupDR with the node's signed offer
    SC2  virtual node -> device       SetupDR below an SC1, with a committed baseline

              accept            activate             settle                 complete
    PROPOSED --------> ACCEPTED --------> ACTIVE ------------> SETTLED ----------------> COMPLETED
        |                  |      (SC1)      `-> SETTLING -'       `-> COMPLETING -'
        +-- reject ---> REJECTED             (200 devices a transaction, by cursor)
        +-- expire ---> EXPIRED <-- expire (SC1 that found no device)

An SC2 has no activation of its own: accepted, it counts as soon as its SC1 is active. `TRANSITIONS` is the whole
table; a step that is not in it is refused with illegal_transition and leaves no trace. A noun a module:
needs, contract (records and table), proposal (SetupDR), handshake (AcceptReduction, RejectReduction, deadlines),
completion (SettleDR, DRCompletion).
"""
