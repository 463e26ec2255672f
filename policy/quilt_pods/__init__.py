"""A node's pods, beside the agent: their addresses are published, and policies that hold for them sent on.

Two features of the agent's process over one list of who has an address, which the runtime keeps:
`endpoints` writes the node's QuiltEndpoints, `policies` has the runtime enforce network policies.
"""
