"""No request sets more than its operation is about, whatever fields it has and whoever sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tests.accounts import PASSWORD, awaited, principal_of
from tests.conftest import METHODS, path_of
from tests.sites import Site, ask, site

from statusthing import Principal, Role
from statusthing.errors import InvalidArgument, PermissionDenied
from statusthing.model import RECORDS, FailedSignIn, KeptAnswer, Record, Session, Throttle, TokenUse
from statusthing.service import messages as m
from statusthing.store import Query, Transaction

PAST = datetime(1999, 9, 9, tzinfo=UTC)

# What a request may set of a record that was there, apart from `version` and `updated`.
CHANGES = {
    "UpdateItem": {"Item.name", "Item.description", "Item.status_id", "Item.position"},
    "UpdateStatus": {"Status.name", "Status.description", "Status.color", "Status.kind"},
    "UpdateNote": {"Note.text"},
    "UpdateUser": {
        "User.username",
        "User.password_hash",
        "User.first_name",
        "User.last_name",
        "User.email_address",
        "User.avatar_url",
        "User.role",
        "User.disabled",
    },
    "ChangePassword": {"User.password_hash"},
}

# What of a new record comes from the request.
ADDITIONS = {
    "AddItem": {
        "Item.name",
        "Item.description",
        "Item.position",
        "Item.status_id",
        "Status.id",
        "Status.name",
        "Status.description",
        "Status.color",
        "Status.kind",
        "Note.text",
    },
    "AddStatus": {"Status.name", "Status.description", "Status.color", "Status.kind"},
    "AddNote": {"Note.text", "Note.item_id"},
    "AddUser": {
        "User.username",
        "User.first_name",
        "User.last_name",
        "User.email_address",
        "User.avatar_url",
        "User.role",
    },
    "AddToken": {"Token.name", "Token.role", "Token.expires"},
}

REMOVALS = {
    "DeleteItem": {"Item", "Note"},
    "DeleteStatus": {"Status"},
    "DeleteNote": {"Note"},
    "DeleteUser": {"User", "Token"},
    "RevokeToken": {"Token"},
}

ROLES = {"viewer": Role.VIEWER, "editor": Role.EDITOR, "admin": Role.ADMIN}

EDITED = ("AddItem", "UpdateItem", "DeleteItem", "AddStatus", "UpdateStatus", "DeleteStatus")
MAY_WRITE = {
    "viewer": {"ChangePassword"},
    "editor": {"ChangePassword", *EDITED, "AddNote", "UpdateNote", "DeleteNote"},
    "admin": set(CHANGES) | set(ADDITIONS) | set(REMOVALS),
}

_UNLOGGED = (KeptAnswer, Session, TokenUse, Throttle, FailedSignIn)

_TEXTS = {
    "color": "#010203",
    "email_address": "sent@example.com",
    "avatar_url": "https://sent.example.com/avatar",
    "current_password": PASSWORD,
    "password": "sent horse battery",
    "new_password": "sent horse battery",
    "page_token": "",
    "request_id": "sent-request",
}


class Scene:
    """An application with one record of each kind, and people of each role.

    Args:
        here: the application.
        ids: of what is there, by the name of the field that names it.
        tokens: the secret of each role's.
    """

    def __init__(self, here: Site, ids: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        self.here = here
        self.ids = ids
        self.tokens = tokens

    async def records(self) -> dict[tuple[str, str], Record]:
        """Return all records that are part of history."""

        def work(tx: Transaction) -> list[Record]:
            return [
                row for kind in RECORDS if kind not in _UNLOGGED for row in tx.find(Query(kind))
            ]

        rows = await self.here.st.store.read(work)
        return {(type(row).__name__, row.id): row for row in rows}

    async def send(self, rpc: str, role: str, fields: Mapping[str, Any]) -> int:
        """Call an RPC, and return the HTTP status."""
        answer = await ask(
            self.here.app,
            "POST",
            path_of(rpc),
            {
                "content-type": "application/json",
                "authorization": f"Bearer {self.tokens[role]}",
            },
            body=json.dumps(fields).encode(),
        )
        return answer.status


async def scene(here: Site) -> Scene:
    """Set the scene."""
    st = here.st
    status = await st.statuses.add(name="up", kind=1)
    item = await st.items.add(name="api", initial_status_id=status.id, initial_note_text="Hm.")
    full = await st.items.get(item.id)
    spare = await st.statuses.add(name="spare", kind=1)
    await here.person("root")
    victim = await here.person("victim", Role.VIEWER)
    tokens, people = {}, {}
    for name, role in ROLES.items():
        people[name] = await here.person(name, role)
        maker = Principal(name=name, role=Role.ADMIN, user_id=people[name].id)
        tokens[name] = (await st.tokens.add(name=name, role=Role.ADMIN, principal=maker)).secret
    maker = Principal(name="victim", role=Role.ADMIN, user_id=victim.id)
    theirs = await st.tokens.add(name="theirs", role=Role.VIEWER, principal=maker)
    ids = {
        "item_id": item.id,
        "status_id": spare.id,
        "initial_status_id": "",
        "note_id": full.notes[0].id,
        "user_id": victim.id,
        "token_id": theirs.token.id,
    }
    return Scene(here, ids, tokens)


def filled(kind: Descriptor, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return a message with something in every field."""
    fields: dict[str, Any] = {}
    for field in kind.fields:
        value = _value(field, ids)
        fields[field.name] = [value] if field.is_repeated else value
    return fields


def _value(field: FieldDescriptor, ids: Mapping[str, str]) -> Any:
    if field.message_type is not None:
        of_messages = {
            "google.protobuf.Timestamp": (
                "2099-09-09T00:00:00Z" if field.name == "expires" else PAST.isoformat()
            ),
            "google.protobuf.FieldMask": "",
        }
        name = field.message_type.full_name
        return of_messages[name] if name in of_messages else filled(field.message_type, ids)
    if field.enum_type is not None:
        return "ROLE_ADMIN" if field.enum_type.name == "Role" else "STATUS_KIND_OFFLINE"
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return ids.get(field.name, _TEXTS.get(field.name, f"sent-{field.name}"))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    return 0 if field.name == "expected_version" else 77


def _values(fields: Any) -> list[Any]:
    if isinstance(fields, dict):
        return [value for each in fields.values() for value in _values(each)]
    if isinstance(fields, list):
        return [value for each in fields for value in _values(each)]
    return [fields]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("rpc", METHODS)
@awaited
async def test_a_request_with_every_field_sets_no_more_than_it_may(rpc: str, role: str) -> None:
    """It changes, adds and removes what is declared, and for a role that may not, nothing."""
    async with site() as here:
        staged = await scene(here)
        fields = filled(METHODS[rpc].input_type, staged.ids)
        before = await staged.records()

        status = await staged.send(rpc, role, fields)

        after = await staged.records()
        if rpc not in MAY_WRITE[role]:
            assert after == before
            return
        assert status == 200
        changed = {
            f"{kind}.{field}"
            for kind, id in before.keys() & after.keys()
            for field in before[kind, id].__struct_fields__
            if getattr(before[kind, id], field) != getattr(after[kind, id], field)
        }
        counted = {
            f"{kind.__name__}.{field}" for kind in RECORDS for field in ("version", "updated")
        }
        assert changed - counted == CHANGES.get(rpc, set())
        sent = {str(value) for value in _values(fields) if value not in ("", True, 0)}
        added = {
            f"{kind}.{field}"
            for kind, id in after.keys() - before.keys()
            for field in after[kind, id].__struct_fields__
            if _written(getattr(after[kind, id], field)) & sent
        }
        assert added <= ADDITIONS.get(rpc, set())
        assert {kind for kind, _ in before.keys() - after.keys()} == REMOVALS.get(rpc, set())
        for key in after.keys() - before.keys():
            record = after[key]
            assert (record.version, record.created) == (1, record.updated)
            assert abs(record.created - here.clock()) < timedelta(seconds=1)


def _written(value: Any) -> set[str]:
    """Return how a value may have been sent."""
    if isinstance(value, datetime):
        return {value.isoformat(), value.isoformat().replace("+00:00", "Z")}
    return {str(value), str(getattr(value, "value", value))}


FORBIDDEN = {
    "id": "chosen",
    "role": "ROLE_ADMIN",
    "disabled": False,
    "password": "sent horse battery",
    "passwordHash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGE",
    "password_hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGE",
    "development": True,
    "lastLogin": "1999-09-09T00:00:00Z",
    "version": 77,
    "timestamps": {"created": "1999-09-09T00:00:00Z"},
    "userId": "somebody",
    "digest": "0" * 64,
    "secret": "st_chosen",
    "expires": "2099-09-09T00:00:00Z",
    "principal": {"role": "ROLE_ADMIN"},
    "__proto__": {"role": "ROLE_ADMIN"},
}


@pytest.mark.parametrize("rpc", METHODS)
@awaited
async def test_a_field_that_a_message_does_not_have_is_refused(rpc: str) -> None:
    """It is invalid, also next to fields that are fine, and nothing is written."""
    async with site() as here:
        staged = await scene(here)
        known = {
            name
            for field in METHODS[rpc].input_type.fields
            for name in (field.name, field.json_name)
        }
        before = await staged.records()
        for name, value in FORBIDDEN.items():
            if name not in known:
                fields = {**filled(METHODS[rpc].input_type, staged.ids), name: value}
                assert await staged.send(rpc, "admin", fields) == 400, name
        assert await staged.records() == before


@awaited
async def test_a_user_that_is_added_has_the_rest_from_the_server() -> None:
    """Nobody makes a development account, a sign-in that never was, or an id."""
    async with site() as here:
        added = await here.st.users.add(
            username="eve", password=PASSWORD, role=Role.VIEWER, email_address="e@example.com"
        )
        user = await here.user(added.id)

        assert (user.development, user.disabled, user.last_login) == (False, False, None)
        assert user.version == 1
        assert user.password_hash.startswith("$argon2id$")
        assert added.password == ""


@awaited
async def test_a_token_belongs_to_whoever_asks() -> None:
    """To the account behind the session or the token, and to nobody else."""
    async with site() as here:
        ada = await here.person("ada")
        added = await here.st.tokens.add(
            name="ci", role=Role.ADMIN, principal=principal_of(ada, token_id="")
        )
        assert added.token.user_id == ada.id
        again = await here.accounts.by_token(added.secret)
        more = await here.st.tokens.add(name="more", role=Role.VIEWER, principal=again)
        assert more.token.user_id == ada.id


@pytest.mark.parametrize(
    "path",
    [
        "id",
        "version",
        "created",
        "updated",
        "timestamps",
        "development",
        "last_login",
        "password_hash",
        "passwordHash",
        "Role",
        "role ",
        "role.x",
        "*",
        "",
        "user_id",
        "update_mask",
        "expected_version",
    ],
)
@awaited
async def test_a_mask_names_only_what_can_be_set(path: str) -> None:
    """Anything else is invalid, alone and next to what is fine."""
    async with site() as here:
        user = await here.person("ada", Role.VIEWER)
        for mask in ([path], ["first_name", path], [path, "first_name"]):
            with pytest.raises(InvalidArgument, match="update_mask"):
                await here.st.run(
                    m.UpdateUserRequest(user_id=user.id, first_name="Ada", update_mask=mask)
                )
        assert await here.user(user.id) == user


@pytest.mark.parametrize("field", ["username", "password", "role"])
@awaited
async def test_a_mask_empties_nothing_that_an_account_needs(field: str) -> None:
    """Naming a field without giving it is invalid where it cannot be empty."""
    async with site() as here:
        user = await here.person("ada", Role.VIEWER)

        with pytest.raises(InvalidArgument) as refused:
            await here.st.run(m.UpdateUserRequest(user_id=user.id, update_mask=[field]))

        assert refused.value.field == field
        assert await here.user(user.id) == user


@awaited
async def test_only_an_admin_changes_the_settings() -> None:
    """They are no RPC, and the operation is closed to editors."""
    async with site() as here:
        editor = await here.person("eve", Role.EDITOR)
        with pytest.raises(PermissionDenied):
            await here.st.settings.update(title="mine", principal=principal_of(editor))
    assert not {rpc for rpc in METHODS if "Settings" in rpc}
