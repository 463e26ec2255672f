"""Addresses of containers for those who are no CNI runtime (quilt.Ipam)."""

from __future__ import annotations

import structlog

from quilt_proto import node_pb2 as pb
from quilt_proto import node_pb2_grpc as rpc
from quilt_runtime.app import Runtime
from quilt_runtime.core.cni import CniError, parse_owner
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Allocation, Owner, gateway
from quilt_runtime.core.ipam6 import gateway6
from quilt_runtime.services.answer import answer

log = structlog.get_logger()


class IpamService(rpc.IpamServicer):
    """Serves addresses."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def AllocateIp(self, request: pb.AllocateIpRequest, context: object) -> pb.AllocateIpResponse:  # noqa: N802
        """Give an owner an address, the same again where it has one."""

        def work() -> Allocation:
            owner = _owner(request.container_id, request.interface)
            allocation, new = self._runtime.addresses.allocate(
                owner, wishes=[request.address] if request.address else []
            )
            if new:
                log.info("address_allocated", container=owner.container_id, address=str(allocation.address))
            return allocation

        done = await answer(self._runtime.metrics, "AllocateIp", work, short=True)
        subnet = self._runtime.addresses.subnet
        if done.value is None or subnet is None:
            return pb.AllocateIpResponse(error=done.error)
        twin, subnet6 = self._runtime.addresses.twin(done.value.address), self._runtime.addresses.subnet6
        return pb.AllocateIpResponse(
            success=True,
            addresses=[f"{done.value.address}/32", *([f"{twin}/128"] if twin else [])],
            gateway=str(gateway(subnet)),
            gateway_v6=str(gateway6(subnet6)) if subnet6 else "",
        )

    async def ReleaseIp(self, request: pb.ReleaseIpRequest, context: object) -> pb.ReleaseIpResponse:  # noqa: N802
        """Free what an owner holds; nothing held is success."""

        def work() -> None:
            for freed in self._runtime.addresses.release([_owner(request.container_id, request.interface)]):
                log.info("address_released", container=request.container_id, address=str(freed.address))

        done = await answer(self._runtime.metrics, "ReleaseIp", work, short=True)
        return pb.ReleaseIpResponse(success=done.success, error=done.error)

    async def ListAllocations(  # noqa: N802
        self, request: pb.ListAllocationsRequest, context: object
    ) -> pb.ListAllocationsResponse:
        """Tell who holds what."""
        return pb.ListAllocationsResponse(
            allocations=[
                pb.Allocation(
                    container_id=held.owner.container_id,
                    interface=held.owner.interface,
                    address=str(held.address),
                )
                for held in self._runtime.addresses.held()
            ]
        )


def _owner(container_id: str, interface: str) -> Owner:
    try:
        return parse_owner({"CNI_CONTAINERID": container_id, "CNI_IFNAME": interface})
    except CniError as error:
        text = str(error).replace("CNI_CONTAINERID", "container_id").replace("CNI_IFNAME", "interface")
        raise RequestError(text) from error
