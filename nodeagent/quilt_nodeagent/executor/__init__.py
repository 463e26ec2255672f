"""The runtime as the agent sees it: an executor of what the agent decides, reached by gRPC."""

from quilt_proto import poll_directly

poll_directly()
