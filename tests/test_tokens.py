"""Tokens: their shape, what they may do, and all that ends them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.accounts import awaited, bytes_in, counted, place, principal_of

from statusthing import open_store
from statusthing.access import Role
from statusthing.errors import InvalidArgument, PermissionDenied, Unauthenticated
from statusthing.memory import MemoryStore
from statusthing.model import KeptAnswer, Token, TokenUse
from statusthing.service import messages
from statusthing.service.accounts import KNOWN_SECONDS
from statusthing.service.messages import AddTokenRequest, WhoAmIRequest

SHAPE = re.compile(r"st_[0-9A-Za-z]{43}[0-9A-Za-z]{6}")


class Asked(MemoryStore):
    """Counts how often it is asked."""

    asked = 0

    async def read(self, work: Any) -> Any:
        """Run a unit that only reads."""
        self.asked += 1
        return await super().read(work)


@awaited
async def test_a_secret_has_a_prefix_and_a_checksum() -> None:
    """Scanners find it; one that is mistyped is no question to the store; none is like another."""
    store = Asked()
    async with place(store) as here:
        secrets = [
            (await here.st.tokens.add(name=f"ci {n}", role=Role.VIEWER)).secret for n in range(50)
        ]
        before = store.asked
        wrong = [
            "",
            "st_",
            secrets[0][:-1],
            secrets[0] + "0",
            secrets[0].replace("st_", "ST_"),
            secrets[0][:10] + ("a" if secrets[0][10] != "a" else "b") + secrets[0][11:],
            secrets[0] + "\n",
            "st_" + "\N{ARABIC-INDIC DIGIT ONE}" * 49,
            "st_" + "0" * 100_000,
        ]
        for text in wrong:
            with pytest.raises(Unauthenticated):
                await here.accounts.by_token(text)
        assert store.asked == before

    assert len(set(secrets)) == 50
    assert all(SHAPE.fullmatch(secret) for secret in secrets)


@awaited
async def test_a_secret_is_in_no_byte_of_the_store(tmp_path: Path) -> None:
    """Only its SHA-256 is, not even in the answer that is kept for a repeated request."""
    file = tmp_path / "statusthing.db"
    async with place(open_store(f"sqlite:///{file}")) as here:
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR, request_id="once")
        await here.accounts.by_token(added.secret)
        await here.settled()
        (token,) = await here.found(Token)
        data = bytes_in(tmp_path)

    assert token.digest == hashlib.sha256(added.secret.encode()).hexdigest()
    assert token.digest.encode() in data
    assert added.secret.encode() not in data
    assert added.secret.removeprefix("st_").encode() not in data


@awaited
async def test_a_secret_is_in_no_view_and_in_no_entry_of_the_log() -> None:
    """Only the answer to AddToken has it, and no answer ever has the digest."""
    async with place() as here:
        user = await here.person()
        added = await here.st.tokens.add(
            name="ci", role=Role.EDITOR, request_id="once", principal=principal_of(user)
        )
        principal = await here.accounts.by_token(added.secret)
        (token,) = await here.found(Token)
        (kept,) = await here.found(KeptAnswer)
        texts = [
            repr(await here.st.tokens.list()),
            repr(await here.st.audit.list()),
            repr((await here.st.run(messages.WhoAmIRequest(), principal=principal)).response),
            repr(added),
            repr(token),
            repr(kept),
            kept.answer,
        ]

    for text in texts:
        assert added.secret not in text
        assert token.digest not in text


@awaited
async def test_a_repeated_request_gets_the_token_without_its_secret() -> None:
    """One token is made, and the secret is told once."""
    async with place() as here:
        first = await here.st.tokens.add(name="ci", role=Role.EDITOR, request_id="once")
        again = await here.st.tokens.add(name="ci", role=Role.EDITOR, request_id="once")

        assert again.token == first.token
        assert (bool(first.secret), again.secret) == (True, "")
        assert len(await here.found(Token)) == 1
        with pytest.raises(InvalidArgument, match="request_id"):
            await here.st.tokens.add(name="ci", role=Role.ADMIN, request_id="once")


@pytest.mark.parametrize(
    ("owner", "token", "effective"),
    [
        (Role.ADMIN, Role.ADMIN, Role.ADMIN),
        (Role.ADMIN, Role.EDITOR, Role.EDITOR),
        (Role.EDITOR, Role.ADMIN, Role.EDITOR),
        (Role.VIEWER, Role.EDITOR, Role.VIEWER),
    ],
)
@awaited
async def test_a_token_is_never_above_its_owner_as_they_are_now(
    owner: Role, token: Role, effective: Role
) -> None:
    """An owner whose role was changed after the token was made takes the token along, and back."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada")
        added = await here.st.tokens.add(name="ci", role=token, principal=principal_of(user))

        await here.st.users.update(user.id, role=owner)

        assert (await here.accounts.by_token(added.secret)).role is effective
        await here.st.users.update(user.id, role=Role.ADMIN)
        assert (await here.accounts.by_token(added.secret)).role is token


@awaited
async def test_nobody_makes_a_token_above_their_own_role() -> None:
    """Not with a narrower token of their own either, whatever they are themselves."""
    async with place() as here:
        user = await here.person("ada")
        editors = await here.st.tokens.add(
            name="ci", role=Role.EDITOR, principal=principal_of(user)
        )
        narrow = await here.accounts.by_token(editors.secret)

        for role in Role.VIEWER, Role.EDITOR, Role.ADMIN:
            with pytest.raises(PermissionDenied):
                await here.st.tokens.add(name="more", role=role, principal=narrow)
        assert len(await here.found(Token)) == 1


@awaited
async def test_disabling_the_owner_silences_a_token_and_deleting_them_removes_it() -> None:
    """At once in this process; what is disabled may be enabled again."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada")
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR, principal=principal_of(user))
        principal = await here.accounts.by_token(added.secret)
        await here.settled()

        await here.st.users.update(user.id, disabled=True)
        with pytest.raises(Unauthenticated):
            await here.accounts.by_token(added.secret)
        with pytest.raises(Unauthenticated):  # admitted before
            await here.st.items.add(name="api", principal=principal)

        await here.st.users.update(user.id, disabled=False, update_mask=["disabled"])
        assert (await here.accounts.by_token(added.secret)).role is Role.EDITOR

        await here.st.users.delete(user.id)
        with pytest.raises(Unauthenticated):
            await here.accounts.by_token(added.secret)
        assert (await here.found(Token), await here.found(TokenUse)) == ([], [])


@awaited
async def test_a_token_expires() -> None:
    """To the second, also while its principal is in the cache, and for what was admitted before."""
    async with place() as here:
        expires = here.clock() + timedelta(hours=1)
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR, expires=expires)
        here.clock.pass_by(minutes=59, seconds=59)
        principal = await here.accounts.by_token(added.secret)

        here.clock.pass_by(seconds=1)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_token(added.secret)
        with pytest.raises(Unauthenticated):
            await here.st.items.add(name="api", principal=principal)


@awaited
async def test_a_token_cannot_be_made_expired() -> None:
    """`expires` has to be in the future."""
    async with place() as here:
        with pytest.raises(InvalidArgument, match="expires"):
            await here.st.tokens.add(name="ci", role=Role.EDITOR, expires=here.clock())


@awaited
async def test_the_last_use_is_put_down_once_a_minute_and_outside_of_history() -> None:
    """However many calls come at once; the head stays where it was."""
    async with place() as here:
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR)
        before = await here.revisions()

        async def used() -> int:
            for _ in range(3):
                here.accounts.forget()
                await asyncio.gather(*(here.accounts.by_token(added.secret) for _ in range(5)))
                await here.settled()
            (use,) = await here.found(TokenUse)
            assert isinstance(use, TokenUse)
            return use.version

        assert await used() == 1
        here.clock.pass_by(seconds=59)
        assert await used() == 1
        here.clock.pass_by(seconds=1)
        assert await used() == 2
        (view,) = await here.st.tokens.list()
        assert view.last_used is not None
        assert view.last_used >= here.clock()
        shown = await here.accounts.by_token(added.secret)
        who = await here.st.run(WhoAmIRequest(), principal=shown)
        assert who.response.token == view
        assert await here.revisions() == before


@awaited
async def test_revoking_is_at_once_here() -> None:
    """A token that is in the cache is forgotten, and what was admitted with it is refused."""
    async with place() as here:
        added = await here.st.tokens.add(name="ci", role=Role.ADMIN)
        principal = await here.accounts.by_token(added.secret)

        await here.st.tokens.revoke(added.token.id)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_token(added.secret)
        with pytest.raises(Unauthenticated):
            await here.st.users.add(
                username="eve",
                password="correct horse",
                role=Role.ADMIN,
                principal=principal,
            )


@awaited
async def test_revoking_is_known_to_other_processes_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take its own word for a second, for reading; writes look at once."""
    url = f"sqlite:///{tmp_path}/statusthing.db"
    async with place(open_store(url)) as here, place(open_store(url)) as there:
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR)
        principal = await there.accounts.by_token(added.secret)
        known_at = time.monotonic()

        await here.st.tokens.revoke(added.token.id)

        with pytest.raises(Unauthenticated):
            await there.st.items.add(name="api", principal=principal)
        monkeypatch.setattr(time, "monotonic", lambda: known_at + KNOWN_SECONDS)
        with pytest.raises(Unauthenticated):
            await there.accounts.by_token(added.secret)

    assert KNOWN_SECONDS <= 1


@awaited
async def test_a_token_of_the_command_line_belongs_to_nobody() -> None:
    """It works without any account, has no password to change, and setup is not done by it."""
    async with place() as here:
        added = await here.st.tokens.add(name="deploy", role=Role.ADMIN)

        principal = await here.accounts.by_token(added.secret)

        assert (principal.user_id, added.token.user_id) == ("", "")
        assert await here.st.setup.is_done() is False
        assert await here.st.setup_link() is not None
        with pytest.raises(PermissionDenied), counted() as hashes:
            await here.st.users.change_password(
                current_password="correct horse",
                new_password="correct battery",
                principal=principal,
            )
        assert (hashes.made, hashes.verified) == (0, 0)


@awaited
async def test_a_request_says_nothing_secret_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that an operation is asked or answers is logged at any level."""
    caplog.set_level(logging.DEBUG)
    async with place() as here:
        added = await here.st.tokens.add(name="ci", role=Role.EDITOR)
        await here.accounts.by_token(added.secret)

    assert added.secret not in caplog.text


@awaited
async def test_many_tokens_take_no_memory() -> None:
    """The cache of who is known has an end."""
    async with place() as here:
        user = await here.person()
        for _ in range(1_100):
            await here.accounts.by_session(await here.session(user))

        assert len(here.accounts._known) <= 1_024  # noqa: SLF001 - there is no other door to it


def test_the_repr_of_a_request_hides_its_password() -> None:
    """So that no traceback and no log of a debugger shows one."""
    secret = "correct horse battery"
    for struct in (
        messages.AddUserRequest(username="ada", password=secret),
        messages.UpdateUserRequest(user_id="x", password=secret),
        messages.ChangePasswordRequest(current_password=secret, new_password=secret),
    ):
        assert secret not in repr(struct)
        assert type(struct).__name__ in repr(struct)
    assert "name='ci'" in repr(AddTokenRequest(name="ci"))
