"""The runtime as the agent sees it: an executor of what the agent decides, reached by gRPC."""
