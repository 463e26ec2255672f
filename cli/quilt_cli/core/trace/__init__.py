"""The way of a packet from one end to the other: what should be at each step, and what the kernels hold."""
