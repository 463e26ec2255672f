"""The control plane under load: agents' writes, Leases and watches against a real API server."""
