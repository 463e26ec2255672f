"""Network policies, as far as they are the operator's: who is behind each selector, kept as QuiltPeers."""
