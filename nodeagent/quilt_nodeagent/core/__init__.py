"""Pure decisions: what should be, what differs, in which order to write it. No input, no output, no clock."""
