"""`dr-vtn upstream`: the link to a utility's VTN."""
