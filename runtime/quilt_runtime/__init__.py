"""The node runtime: executes routes, owns container addresses, serves CNI."""

from quilt_runtime.lean import import_first

import_first()
