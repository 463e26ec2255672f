"""The node runtime: executes routes, owns container addresses, serves CNI."""
