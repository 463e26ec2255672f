"""What this node writes to the Kubernetes API: its QuiltNode, its Lease, its status."""
