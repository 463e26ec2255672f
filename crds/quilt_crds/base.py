"""What every API model shares: wire names, tolerance for newer servers, errors that people can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Strict, ValidationError

from quilt_crds.names import wire_name

# JSON has numbers and booleans of its own, so "24" and "true" are mistakes, not values.
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]


class InvalidObjectError(ValueError):
    """An object does not fit its model; the text names the object and every field at fault."""


class ApiModel(BaseModel):
    """Base of all models: immutable, camelCase on the wire, Python names in code.

    Unknown fields are ignored, not refused: while an upgrade rolls, an old process reads objects of a newer
    schema. Typing errors in what a person writes are refused by the API server and by the chart's schema.
    """

    model_config = ConfigDict(
        alias_generator=wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls, raw: Mapping[str, Any], what: str = "") -> Self:
        """Build from decoded JSON; `what` names the object in errors, e.g. `QuiltNode worker-1`.

        Raises InvalidObjectError, one clause per field at fault.
        """
        try:
            return cls.model_validate(dict(raw))
        except ValidationError as error:
            raise InvalidObjectError(explain(error, what or cls.__name__)) from error

    def wire(self) -> dict[str, Any]:
        """JSON-ready dict in wire names, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(ApiModel):
    """The part of Kubernetes' object metadata that we read."""

    name: str
    uid: str | None = None
    resource_version: str | None = None
    generation: Int | None = None


def explain(error: ValidationError, what: str) -> str:
    """One line out of a pydantic error: `QuiltNetwork default is not valid: spec.vxlan.vni: …; …`."""
    clauses = []
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        clauses.append(f"{where}: {message}" if where else message)
    return f"{what} is not valid: {'; '.join(clauses)}"
