"""What probes decide, without input or output: the clock and chance are handed in."""
