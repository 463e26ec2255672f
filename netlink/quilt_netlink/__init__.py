"""Typed kernel network state over netlink: batches, dumps, monitor."""
