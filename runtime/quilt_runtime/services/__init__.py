"""gRPC services: requests in, answers out; what they mean is decided and done elsewhere."""

from quilt_proto import poll_directly

poll_directly()
