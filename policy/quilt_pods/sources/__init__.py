"""What is read of Kubernetes for policies, each kind in its module: plain state, fed by lists and watches."""
