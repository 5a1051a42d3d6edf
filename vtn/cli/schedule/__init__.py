"""`dr-vtn schedule`: when the devices of homes run, within what their feeders bear."""
