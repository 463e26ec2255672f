"""API models of the quilt.io group and the generator of their CRDs.

Nothing is imported here on purpose: a process that needs only `names` or `vtep` must not pay for pydantic.
"""
