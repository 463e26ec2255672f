"""Pure decisions: no input or output, no clock of their own, no Kubernetes client.

Time, observations and objects come in as values; decisions go out as values. The shells around this package
observe and apply.
"""
