"""Why a route could not be made to stand, and whether trying again makes sense."""

from __future__ import annotations


class ExecutorError(Exception):
    """Base of all; `retryable` tells whether the same request may succeed later."""

    retryable = True


class BridgeNotReady(ExecutorError):  # noqa: N818  the contract's name
    """The interface cannot be told yet: it does not exist, or no bridge knows the MAC."""


class RuntimeUnavailable(ExecutorError):  # noqa: N818  the contract's name
    """The runtime could not be reached, or did not answer in time."""


class RouteFailed(ExecutorError):  # noqa: N818  the contract's name
    """The runtime refused, with its own words; `retryable` is its judgement."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
