"""Addresses of containers for those who are no CNI runtime (quilt.Ipam)."""

from __future__ import annotations

from quilt_log import log
from quilt_proto import node_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.core.cni import CniError, parse_owner
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Owner, host_route
from quilt_runtime.services.answer import Call, at_once


def allocate(runtime: Runtime, request: pb.AllocateIpRequest) -> pb.AllocateIpResponse:
    """Give an owner an address, the same again where it has one."""
    owner = _owner(request.container_id, request.interface)
    wishes = [request.address] if request.address else []
    allocation, new = runtime.addresses.allocate(owner, wishes=wishes)
    if new:
        log.info("address_allocated", container=owner.container_id, address=str(allocation.address))
    addresses, gateways = zip(*runtime.addresses.ways(allocation.address), strict=True)
    return pb.AllocateIpResponse(
        success=True,
        addresses=map(host_route, addresses),
        gateway=str(gateways[0]),
        gateway_v6="".join(map(str, gateways[1:])),
    )


def release(runtime: Runtime, request: pb.ReleaseIpRequest) -> None:
    """Free what an owner holds; nothing held is success."""
    for freed in runtime.addresses.release([_owner(request.container_id, request.interface)]):
        runtime.network.feed.disconnected(freed)
        log.info("address_released", container=request.container_id, address=str(freed.address))


def listed(runtime: Runtime, request: pb.ListAllocationsRequest) -> pb.ListAllocationsResponse:
    """Tell who holds what."""
    return pb.ListAllocationsResponse(
        allocations=[
            pb.Allocation(
                container_id=held.owner.container_id,
                interface=held.owner.interface,
                address=str(held.address),
            )
            for held in runtime.addresses.held()
        ]
    )


def _owner(container_id: str, interface: str) -> Owner:
    try:
        return parse_owner({"CNI_CONTAINERID": container_id, "CNI_IFNAME": interface})
    except CniError as error:
        text = str(error).replace("CNI_CONTAINERID", "container_id").replace("CNI_IFNAME", "interface")
        raise RequestError(text) from error


CALLS = {
    "AllocateIp": Call(allocate, at_once),
    "ReleaseIp": Call(release, at_once),
    "ListAllocations": Call(listed, at_once),
}
