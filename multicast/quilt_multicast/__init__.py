"""Multicast between nodes: who is a member of what where, and how packets get there.

Reading order: `core` decides (members, forwarding, the protocol between nodes), `engine` makes the kernel
follow, `exchange` talks to peers, and `service` has them while the network says so. docs/multicast.md.
"""
