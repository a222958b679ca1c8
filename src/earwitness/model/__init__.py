"""Records, data dictionary and errors. Takes nothing, does no I/O; every other room builds on it."""
