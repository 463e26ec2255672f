"""The node agent: reconciles the VXLAN mesh of one node."""
