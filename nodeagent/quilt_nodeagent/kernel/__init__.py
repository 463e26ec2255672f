"""What touches Linux: reading its state into core types, writing plans, hearing of changes."""
