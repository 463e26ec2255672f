"""The control-plane API for multicast routers: neighbors, RPF and events over the agent's control socket.

Reading order: `core` decides (neighbors, RPF, PIM packets, requests), `plane` holds one of each, `handlers`
answers commands, `server` (the two sockets) and `speakers` (PIM) are the ways in.
docs/multicast-control.md is the reference of the wire format.
"""
