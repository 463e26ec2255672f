"""Whatever arrives on the sockets, the answer is a clear error or a success, and the runtime continues."""

from __future__ import annotations

import json
import socket
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_proto import node_pb2, runtime_pb2
from tests.support.runtime_node import TIMEOUT, Node

bounded = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
METHODS: list[MethodDescriptor] = [
    method
    for module in (runtime_pb2, node_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
CLEAR = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}

almost_right = st.sampled_from(
    ["10.42.1.0/24", "10.42.1.0/024", "10.42.1.0/-1", "10.42.1.0/24\n", "10.42.1.0/٢٤", "fd42::/64", "::/0",
     "10.42.1.0%eth0/24", "lo", "lo\0", "quilt0", "vxlan100", "../../x", "0.0.0.0/0", "10.42.1.1", "a" * 300]
)  # fmt: skip
texts = st.text(max_size=80) | almost_right
numbers = st.integers(-3, 5) | st.sampled_from([2**31 - 1, -(2**31), 2**32 - 1, 65535, 65536])


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        one = messages(GetMessageClass(field.message_type))
    elif field.type == FieldDescriptor.TYPE_STRING:
        one = texts
    elif field.type == FieldDescriptor.TYPE_BOOL:
        one = st.booleans()
    elif field.type in {FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}:
        one = numbers.filter(lambda n: 0 <= n < 2**32)
    else:
        one = numbers.filter(lambda n: -(2**31) <= n < 2**31)
    return st.lists(one, max_size=3) if field.is_repeated else one


def messages(kind: Any) -> st.SearchStrategy[Any]:
    optional = {field.name: values(field) for field in kind.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=optional).map(lambda fields: kind(**fields))


def answered_clearly(node: Node, method: MethodDescriptor, payload: bytes) -> None:
    response = GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = node.shared_channel.unary_unary(path, lambda data: data, response.FromString)
    try:
        answer = call(payload, timeout=TIMEOUT)
    except grpc.RpcError as error:
        if error.code() not in CLEAR and "Error parsing message" not in str(error.details()):
            raise
        return
    for outcome in (answer, *getattr(answer, "results", [])):
        text = getattr(outcome, "error", "")
        if "success" in outcome.DESCRIPTOR.fields_by_name:
            assert outcome.success == (not text)
        assert "failed inside" not in text
        assert len(text) < 1000


def test_every_field_of_every_rpc(ready_node: Node) -> None:
    def ask_about(method: MethodDescriptor) -> None:
        @bounded
        @given(messages(GetMessageClass(method.input_type)))
        def check(message: Any) -> None:
            answered_clearly(ready_node, method, message.SerializeToString())

        check()

    for method in METHODS:
        ask_about(method)
    assert "Traceback" not in ready_node.log
    assert ready_node.process is not None
    assert ready_node.process.poll() is None


@bounded
@given(st.sampled_from(METHODS), st.binary(max_size=60))
def test_bytes_that_are_no_message(ready_node: Node, method: MethodDescriptor, payload: bytes) -> None:
    answered_clearly(ready_node, method, payload)


def test_a_message_beyond_the_limit_is_refused(ready_node: Node) -> None:
    answered_clearly(ready_node, METHODS[0], b"\x0a\xff\xff\xff\x08" + bytes((1 << 24) + (1 << 20)))
    ready_node.give_subnet()


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
environments = st.dictionaries(
    st.sampled_from(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"]),
    texts | json_values,
)
KEYS = ["cniVersion", "name", "type", "mtu", "args", "runtimeConfig", "prevResult", "dns", "ipam",
        "cni.dev/valid-attachments"]  # fmt: skip
configs = st.dictionaries(st.sampled_from(KEYS), json_values).map(
    lambda config: {"cniVersion": "1.0.0", "name": "quilt", **config}
)
verbs = st.sampled_from(["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "add", ""])


def ask(node: Node, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(node.socket_dir / "cni.sock"))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(1 << 16):
            parts.append(part)
    answer: dict[str, Any] = json.loads(b"".join(parts))
    return answer


def cni_answered_clearly(node: Node, line: bytes) -> None:
    answer = ask(node, line)
    assert answer.keys() in ({"result"}, {"error"})
    if error := answer.get("error"):
        assert error["code"]
        assert error["msg"]
        assert "failed inside" not in error["msg"], error
        assert len(error["msg"]) < 2000


def test_every_field_of_cni(ready_node: Node) -> None:
    @settings(bounded, max_examples=400)
    @given(verbs, environments, configs)
    def check(verb: str, environment: dict[str, Any], config: dict[str, Any]) -> None:
        request = {"verb": verb, "env": environment, "config": json.dumps(config)}
        cni_answered_clearly(ready_node, json.dumps(request).encode() + b"\n")

    check()
    assert "Traceback" not in ready_node.log


def test_cni_lines_and_stdin_that_are_no_document(ready_node: Node) -> None:
    @settings(bounded, max_examples=200)
    @given(st.binary(max_size=80) | json_values.map(lambda value: json.dumps(value).encode() + b"\n"))
    def check(line: bytes) -> None:
        cni_answered_clearly(ready_node, line)

    check()

    @settings(bounded, max_examples=200)
    @given(verbs, st.text(max_size=80) | json_values.map(json.dumps))
    def check_stdin(verb: str, config: str) -> None:
        request = {"verb": verb, "env": {"CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0"}, "config": config}
        cni_answered_clearly(ready_node, json.dumps(request).encode() + b"\n")

    check_stdin()
    assert "Traceback" not in ready_node.log
    ready_node.give_subnet()
