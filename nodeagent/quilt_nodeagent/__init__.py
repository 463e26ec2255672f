"""The node agent: reconciles the VXLAN mesh of one node."""

import sys

# structlog draws in rich where that is installed, for tracebacks on terminals: 5 MB and 40 ms of every start.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that there is none
    import structlog  # noqa: F401

    del sys.modules["rich"]
