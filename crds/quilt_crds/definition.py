"""What a CustomResourceDefinition is made of: a model, and what its schema cannot say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quilt_crds.base import ApiModel
from quilt_crds.names import GROUP, VERSION, Resource
from quilt_crds.schema import schema_at, structural_schema

Json = dict[str, Any]


def rule(rule: str, message: str, reason: str = "FieldValueInvalid", *, says: str = "message") -> Json:
    """A CEL rule, as an entry of x-kubernetes-validations; `says` is what `message` is: a text or CEL too."""
    return {"rule": rule, says: message, "reason": reason}


def column(name: str, path: str, type_: str = "string", *, wide: bool = False) -> Json:
    """An entry of additionalPrinterColumns; `wide` ones show with `-o wide` only."""
    return {"name": name, "type": type_, "jsonPath": path, **({"priority": 1} if wide else {})}


@dataclass(frozen=True, slots=True)
class Definition:
    """One CRD: a model and what its schema cannot say."""

    resource: Resource
    model: type[ApiModel]
    columns: tuple[Json, ...]
    rules: dict[str, tuple[Json, ...]]
    """By dotted path of the property; the empty path is the object."""
    status_subresource: bool
    selectable: tuple[str, ...] = ()
    defaults_in: tuple[str, ...] = ()

    def wire(self) -> Json:
        """The CustomResourceDefinition."""
        version: Json = {"name": VERSION, "served": True, "storage": True}
        if self.status_subresource:
            version["subresources"] = {"status": {}}
        if self.selectable:
            version["selectableFields"] = [{"jsonPath": path} for path in self.selectable]
        version["additionalPrinterColumns"] = list(self.columns)
        version["schema"] = {"openAPIV3Schema": self.schema()}
        names = {
            "kind": self.resource.kind,
            "listKind": f"{self.resource.kind}List",
            "plural": self.resource.plural,
            "singular": self.resource.singular,
            "shortNames": [self.resource.short],
            "categories": ["quilt"],
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.resource.crd_name,
                # Removing a CRD removes its objects, and with them the claims that running pods rely on.
                "annotations": {"helm.sh/resource-policy": "keep"},
            },
            "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
        }

    def schema(self) -> Json:
        """The structural schema of its objects, with the rules."""
        schema = structural_schema(self.model, defaults_in=self.defaults_in)
        for path, rules in self.rules.items():
            schema_at(schema, path)["x-kubernetes-validations"] = [{**rule} for rule in rules]
        return schema


IMMUTABLE = rule("self == oldSelf", "is immutable", "FieldValueForbidden")
AGE = column("Age", ".metadata.creationTimestamp", "date")
