"""The story of one demand-response event, told by running the products own commands."""
