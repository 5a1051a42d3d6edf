"""`dr-vtn nodes`: virtual nodes as IEC 61968-5 has DER groups."""
