"""etcd's messages, as far as they are used here, with the field numbers of its published protocol (v3).

    descriptions below ──▶ FileDescriptorProto ──▶ a descriptor pool of our own ──▶ message classes

The tables are the whole of it: no generated code to keep, no compiler to run. Numbers never change once published, and
fields left out here are skipped by the parser, so one table fits etcd 3.4 to 3.6. Messages are typed `Any` on purpose:
nothing outside this folder sees one, `client` turns them into dataclasses.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

EQUAL, GREATER, LESS, NOT_EQUAL = 0, 1, 2, 3
VERSION, CREATE, MOD, VALUE, LEASE = 0, 1, 2, 3, 4
PUT, DELETE = 0, 1
READ, WRITE, READWRITE = 0, 1, 2
ALARM_GET, ALARM_ACTIVATE, ALARM_DEACTIVATE = 0, 1, 2
NOSPACE, CORRUPT = 1, 2

_PACKAGE: Final = "etcdserverpb"
_SCALARS: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "enum": FieldDescriptorProto.TYPE_INT32,  # the same on the wire
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}
_EMPTY: Final = ("StatusRequest", "MemberListRequest", "AuthEnableRequest", "DefragmentRequest")
_HEADER_ONLY: Final = (
    "CompactionResponse", "LeaseRevokeResponse", "AuthEnableResponse", "AuthUserAddResponse", "AuthRoleAddResponse",
    "AuthUserGrantRoleResponse", "AuthRoleGrantPermissionResponse", "DefragmentResponse",
)  # fmt: skip
# `name = number type`; `*` repeated; `|` a member of the message's one-of
_MESSAGES: Final = {
    "ResponseHeader": "cluster_id=1 uint64, member_id=2 uint64, revision=3 int64, raft_term=4 uint64",
    "KeyValue": "key=1 bytes, create_revision=2 int64, mod_revision=3 int64, version=4 int64, value=5 bytes,"
    "lease=6 int64",
    "Event": "type=1 enum, kv=2 KeyValue, prev_kv=3 KeyValue",
    # KV
    "RangeRequest": "key=1 bytes, range_end=2 bytes, limit=3 int64, revision=4 int64, serializable=7 bool,"
    "keys_only=8 bool, count_only=9 bool",
    "RangeResponse": "header=1 ResponseHeader, kvs=2 *KeyValue, more=3 bool, count=4 int64",
    "PutRequest": "key=1 bytes, value=2 bytes, lease=3 int64",
    "PutResponse": "header=1 ResponseHeader",
    "DeleteRangeRequest": "key=1 bytes, range_end=2 bytes",
    "DeleteRangeResponse": "header=1 ResponseHeader, deleted=2 int64",
    "RequestOp": "request_range=1 |RangeRequest, request_put=2 |PutRequest, request_delete_range=3 |DeleteRangeRequest",
    "ResponseOp": "response_range=1 |RangeResponse, response_put=2 |PutResponse,"
    "response_delete_range=3 |DeleteRangeResponse",
    "Compare": "result=1 enum, target=2 enum, key=3 bytes, version=4 |int64, create_revision=5 |int64,"
    "mod_revision=6 |int64, value=7 |bytes, lease=8 |int64",
    "TxnRequest": "compare=1 *Compare, success=2 *RequestOp, failure=3 *RequestOp",
    "TxnResponse": "header=1 ResponseHeader, succeeded=2 bool, responses=3 *ResponseOp",
    "CompactionRequest": "revision=1 int64, physical=2 bool",
    # Watch
    "WatchCreateRequest": "key=1 bytes, range_end=2 bytes, start_revision=3 int64",
    "WatchProgressRequest": "",
    "WatchRequest": "create_request=1 |WatchCreateRequest, progress_request=3 |WatchProgressRequest",
    "WatchResponse": "header=1 ResponseHeader, watch_id=2 int64, created=3 bool, canceled=4 bool,"
    "compact_revision=5 int64, cancel_reason=6 string, events=11 *Event",
    # Lease
    "LeaseGrantRequest": "TTL=1 int64, ID=2 int64",
    "LeaseGrantResponse": "header=1 ResponseHeader, ID=2 int64, TTL=3 int64, error=4 string",
    "LeaseRevokeRequest": "ID=1 int64",
    "LeaseKeepAliveRequest": "ID=1 int64",
    "LeaseKeepAliveResponse": "header=1 ResponseHeader, ID=2 int64, TTL=3 int64",
    # Cluster
    "Member": "ID=1 uint64, name=2 string, peerURLs=3 *string, clientURLs=4 *string, isLearner=5 bool",
    "MemberListResponse": "header=1 ResponseHeader, members=2 *Member",
    "MemberAddRequest": "peerURLs=1 *string, isLearner=2 bool",
    "MemberAddResponse": "header=1 ResponseHeader, member=2 Member, members=3 *Member",
    "MemberRemoveRequest": "ID=1 uint64",
    "MemberRemoveResponse": "header=1 ResponseHeader, members=2 *Member",
    "MemberPromoteRequest": "ID=1 uint64",
    "MemberPromoteResponse": "header=1 ResponseHeader, members=2 *Member",
    # Maintenance
    "AlarmRequest": "action=1 enum, memberID=2 uint64, alarm=3 enum",
    "AlarmMember": "memberID=1 uint64, alarm=2 enum",
    "AlarmResponse": "header=1 ResponseHeader, alarms=2 *AlarmMember",
    "StatusResponse": "header=1 ResponseHeader, version=2 string, dbSize=3 int64, leader=4 uint64, raftIndex=5 uint64,"
    "raftTerm=6 uint64, raftAppliedIndex=7 uint64, errors=8 *string, dbSizeInUse=9 int64, isLearner=10 bool",
    # Auth
    "AuthenticateRequest": "name=1 string, password=2 string",
    "AuthenticateResponse": "header=1 ResponseHeader, token=2 string",
    "AuthUserAddRequest": "name=1 string, password=2 string",
    "AuthUserGrantRoleRequest": "user=1 string, role=2 string",
    "AuthRoleAddRequest": "name=1 string",
    "Permission": "permType=1 enum, key=2 bytes, range_end=3 bytes",
    "AuthRoleGrantPermissionRequest": "name=1 string, perm=2 Permission",
}


def message(name: str, /, **fields: Any) -> Any:
    """A new message `name`. Fields that are messages are given as messages, repeated ones as lists."""
    return _CLASSES[name](**fields)


def message_class(name: str) -> Any:
    """The class of a message, for its `SerializeToString` and `FromString`."""
    return _CLASSES[name]


def _describe(name: str, fields: str) -> DescriptorProto:
    described = DescriptorProto(name=name)
    for text in filter(None, map(str.strip, fields.split(","))):
        key, _, rest = text.partition("=")
        number, _, kind = rest.partition(" ")
        field = described.field.add(name=key, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind.startswith("*"):
            field.label = FieldDescriptorProto.LABEL_REPEATED
        elif kind.startswith("|"):
            if not described.oneof_decl:
                described.oneof_decl.add(name="one")
            field.oneof_index = 0
        kind = kind.lstrip("*|")
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    return described


def _make_classes() -> dict[str, Any]:
    tables = {**_MESSAGES, **dict.fromkeys(_EMPTY, ""), **dict.fromkeys(_HEADER_ONLY, "header=1 ResponseHeader")}
    file = FileDescriptorProto(name="gridpact/etcd.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.extend(_describe(name, fields) for name, fields in tables.items())
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in tables}


_CLASSES: Final = _make_classes()
