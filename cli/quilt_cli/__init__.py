"""The `quilt` command for people."""
