"""Decisions: plain functions of what was read, without any input or output."""
