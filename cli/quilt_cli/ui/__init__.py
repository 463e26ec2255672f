"""The pages of `quiltctl ui`, served on this machine's loopback alone, through the user's own kubeconfig.

`live` follows the cluster and keeps a `core.board`; `pages` answers what a page asks for; `server` speaks
HTTP and lets nobody in without the token; `static/` is what the browser gets, unchanged.
"""
