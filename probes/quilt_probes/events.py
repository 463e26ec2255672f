"""Events about the own QuiltNode. They are a courtesy: one that fails is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from quilt_crds.names import API_VERSION, EVENT, QUILTNODE
from quilt_kube.aio import Client
from quilt_kube.request import ApiError, Json, UnreachableError, create, read
from quilt_probes.core.words import News

log = structlog.get_logger()

# Events about cluster-scoped objects live in the default namespace.
_NAMESPACE = "default"
CONTROLLER = "quilt.io/agent"


@dataclass(frozen=True, slots=True)
class Events:
    """Writes Events about the QuiltNode of `node`."""

    client: Client
    node: str

    async def write(self, news: News) -> None:
        """Create the Event, unless another node wrote it already: its name is the outage's."""
        try:
            about = await self.client.ask(read(QUILTNODE.path(self.node)))
            event = self._event(news, about["metadata"]["uid"])
            await self.client.send(create(EVENT.path(namespace=_NAMESPACE), event))
        except ApiError as error:
            if not error.exists:
                log.info("event_not_sent", error=str(error))
        except UnreachableError as error:
            log.info("event_not_sent", error=str(error))

    def _event(self, news: News, uid: str) -> Json:
        return EVENT.document(
            {"name": news.name, "namespace": _NAMESPACE},
            eventTime=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            reportingController=CONTROLLER,
            reportingInstance=self.node[:128],
            action=news.reason,
            reason=news.reason,
            type="Warning" if news.warning else "Normal",
            note=news.note[:1024],
            regarding={
                "apiVersion": API_VERSION,
                "kind": QUILTNODE.kind,
                "name": self.node,
                "uid": uid,
            },
        )
