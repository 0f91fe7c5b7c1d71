import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_KIND_UNKNOWN: _ClassVar[StatusKind]
    STATUS_KIND_UP: _ClassVar[StatusKind]
    STATUS_KIND_DOWN: _ClassVar[StatusKind]
    STATUS_KIND_WARNING: _ClassVar[StatusKind]
    STATUS_KIND_UNAVAILABLE: _ClassVar[StatusKind]
    STATUS_KIND_AVAILABLE: _ClassVar[StatusKind]
    STATUS_KIND_INVESTIGATING: _ClassVar[StatusKind]
    STATUS_KIND_OBSERVING: _ClassVar[StatusKind]
    STATUS_KIND_CREATED: _ClassVar[StatusKind]
    STATUS_KIND_ONLINE: _ClassVar[StatusKind]
    STATUS_KIND_OFFLINE: _ClassVar[StatusKind]
    STATUS_KIND_DECOMM: _ClassVar[StatusKind]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_VIEWER: _ClassVar[Role]
    ROLE_EDITOR: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
STATUS_KIND_UNKNOWN: StatusKind
STATUS_KIND_UP: StatusKind
STATUS_KIND_DOWN: StatusKind
STATUS_KIND_WARNING: StatusKind
STATUS_KIND_UNAVAILABLE: StatusKind
STATUS_KIND_AVAILABLE: StatusKind
STATUS_KIND_INVESTIGATING: StatusKind
STATUS_KIND_OBSERVING: StatusKind
STATUS_KIND_CREATED: StatusKind
STATUS_KIND_ONLINE: StatusKind
STATUS_KIND_OFFLINE: StatusKind
STATUS_KIND_DECOMM: StatusKind
ROLE_UNSPECIFIED: Role
ROLE_VIEWER: Role
ROLE_EDITOR: Role
ROLE_ADMIN: Role

class Timestamps(_message.Message):
    __slots__ = ("created", "updated", "deleted")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    created: _timestamp_pb2.Timestamp
    updated: _timestamp_pb2.Timestamp
    deleted: _timestamp_pb2.Timestamp
    def __init__(self, created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deleted: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("id", "name", "description", "color", "kind", "timestamps", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    color: str
    kind: StatusKind
    timestamps: Timestamps
    version: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., color: _Optional[str] = ..., kind: _Optional[_Union[StatusKind, str]] = ..., timestamps: _Optional[_Union[Timestamps, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class Note(_message.Message):
    __slots__ = ("id", "text", "item_id", "timestamps", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    item_id: str
    timestamps: Timestamps
    version: int
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., item_id: _Optional[str] = ..., timestamps: _Optional[_Union[Timestamps, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "name", "description", "status", "notes", "timestamps", "version", "position")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    status: Status
    notes: _containers.RepeatedCompositeFieldContainer[Note]
    timestamps: Timestamps
    version: int
    position: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., notes: _Optional[_Iterable[_Union[Note, _Mapping]]] = ..., timestamps: _Optional[_Union[Timestamps, _Mapping]] = ..., version: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("id", "username", "password", "first_name", "last_name", "email_address", "last_login", "avatar_url", "role", "disabled", "timestamps", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    FIRST_NAME_FIELD_NUMBER: _ClassVar[int]
    LAST_NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LAST_LOGIN_FIELD_NUMBER: _ClassVar[int]
    AVATAR_URL_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    username: str
    password: str
    first_name: str
    last_name: str
    email_address: str
    last_login: _timestamp_pb2.Timestamp
    avatar_url: str
    role: Role
    disabled: bool
    timestamps: Timestamps
    version: int
    def __init__(self, id: _Optional[str] = ..., username: _Optional[str] = ..., password: _Optional[str] = ..., first_name: _Optional[str] = ..., last_name: _Optional[str] = ..., email_address: _Optional[str] = ..., last_login: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., avatar_url: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., disabled: _Optional[bool] = ..., timestamps: _Optional[_Union[Timestamps, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "name", "role", "user_id", "expires", "last_used", "timestamps", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    role: Role
    user_id: str
    expires: _timestamp_pb2.Timestamp
    last_used: _timestamp_pb2.Timestamp
    timestamps: Timestamps
    version: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., user_id: _Optional[str] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timestamps: _Optional[_Union[Timestamps, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("id", "time", "actor", "address", "correlation_id", "action", "kind", "subject", "before", "after")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    time: _timestamp_pb2.Timestamp
    actor: str
    address: str
    correlation_id: str
    action: str
    kind: str
    subject: str
    before: str
    after: str
    def __init__(self, id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., address: _Optional[str] = ..., correlation_id: _Optional[str] = ..., action: _Optional[str] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...
