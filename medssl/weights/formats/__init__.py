"""Hand-over to other tools: one file a format, each proven against the network it came from."""
