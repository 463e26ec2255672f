"""One module per command: flags in, work called, answer printed."""
