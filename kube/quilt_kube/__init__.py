"""Asking Kubernetes: requests, list-watches and access, once for all components.

`request` and `listwatch` do no input or output, `access` finds the API server, `aio` and `sync` send.
"""
