"""Errors that reach a person: each says what is wrong, with which object, and what to do about it."""

from __future__ import annotations


class RequestError(Exception):
    """A request that cannot be done; the text is the answer. `retryable`: it may succeed later."""

    retryable = False

    def __init__(self, text: str, *, retryable: bool | None = None) -> None:
        super().__init__(text)
        if retryable is not None:
            self.retryable = retryable


class NoSubnetError(RequestError):
    """The node has no pod subnet yet."""

    retryable = True

    def __init__(self) -> None:
        super().__init__("This node has no pod subnet yet; it gets one once the agent is in sync")


class ExhaustedError(RequestError):
    """Every address of the subnet is in use."""

    retryable = True


class AddressTakenError(RequestError):
    """A static address that another container holds, or that nobody may hold."""
