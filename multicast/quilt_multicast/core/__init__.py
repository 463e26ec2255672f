"""What should be forwarded where, and what the nodes tell each other: no input or output here."""
