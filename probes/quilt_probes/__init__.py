"""Probes of the paths between nodes: loss, latency and the failing direction of each pair."""
