"""What the VTN keeps in PostgreSQL: tables, transactions, and the message queue of each VEN."""
