"""The command `quiltctl`: what the mesh is doing, what is wrong with it, and what to do about that.

`commands/` parses flags and prints; `core/` decides and does no input or output; `api/` reads the cluster,
`kernel/` reads and cleans a node, `connectivity/` runs probes in pods.
"""
