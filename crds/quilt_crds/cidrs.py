"""Address types of the API: canonical text only, so that one prefix has one spelling and one name."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field


def check_cidr(text: str) -> str:
    """`text` when it is a canonical CIDR without host bits; ValueError shows the canonical spelling."""
    try:
        network = ip_network(text, strict=False)
        if "/" not in text:
            raise ValueError("no prefix length")
    except ValueError:
        raise ValueError(f"{text!r} is not a CIDR; write for example 10.42.1.0/24") from None
    if str(network) != text:
        raise ValueError(f"{text!r} is not canonical; write {network}")
    return text


def check_disjoint(cidrs: list[str]) -> list[str]:
    """`cidrs` when no two of them overlap; ValueError names the first two that do."""
    networks = [ip_network(text) for text in cidrs]
    for index, one in enumerate(networks):
        for other in networks[index + 1 :]:
            if one.version == other.version and one.overlaps(other):
                raise ValueError(f"{one} and {other} overlap")
    return cidrs


# 43 and 39: the longest IPv6 prefix and address. Bounded text keeps the cost of CEL rules bounded.
Cidr = Annotated[str, Field(max_length=43), AfterValidator(check_cidr)]
# Empty means "not set": the field is there for somebody to fill in.
CidrOrEmpty = Annotated[str, Field(max_length=43)]
IPOrEmpty = Annotated[str, Field(max_length=39)]
