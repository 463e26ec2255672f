"""API models of the quilt.io group and the generator of their CRDs."""
