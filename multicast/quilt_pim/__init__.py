"""The control-plane API for multicast routers: neighbors, RPF and events over the agent's control socket.

Reading order: `core` decides (neighbors, RPF, PIM packets, requests), `plane` holds one of each, `handlers`
answers commands, server, rpf_server and pim_socket are the three ways in, and `serving` opens them.
docs/multicast-control.md is the reference of the wire format.
"""
