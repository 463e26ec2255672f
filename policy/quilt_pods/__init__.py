"""A node's pods, beside the agent: who has which address is published as the node's QuiltEndpoints."""
