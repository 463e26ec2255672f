"""Events: how they are written, and how few of them a node writes whatever happens to it.

`news` and `ration` do no input or output, `document` is what is sent, `writer` sends a node's.
"""
