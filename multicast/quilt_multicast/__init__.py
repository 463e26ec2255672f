"""Multicast between nodes: who is a member where, how packets get there, and the API that routers use."""
