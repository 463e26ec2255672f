"""Benchmarks: what the mesh costs and how fast it is, against its peers and limits on the same machine."""
