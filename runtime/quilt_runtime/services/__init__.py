"""gRPC services: requests in, answers out; what they mean is decided and done elsewhere."""
