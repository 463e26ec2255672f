"""The CNI verbs, served to quilt-cni over a Unix socket of their own that carries descriptors."""
