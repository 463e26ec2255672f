"""What the command reads of, and removes from, the Linux it runs on."""
