"""Passwords: which are taken, how they are hashed, and how many at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type
from tests.accounts import HERE, PASSWORD, awaited, counted, hash_of_password, place, principal_of

from statusthing.access import Origin, Role
from statusthing.errors import InvalidArgument, TooBusy, Unauthenticated
from statusthing.model import FailedSignIn
from statusthing.service.passwords import AT_ONCE, MEMORY_KIB, PASSES, WAITING

SECONDS = 10.0  # the bound of everything that is waited for

REFUSED = {
    "empty": "",
    "seven characters": "x7%kQ9z",
    "seven of four bytes": "\N{GRINNING FACE}" * 7,
    "too many bytes": "ab" * 2_048 + "c",
    "too many bytes, few characters": "\N{GRINNING FACE}a" * 820,
    "common": "password1",
    "common in capitals": "PassWord1",
    "common between spaces": " 123456789 ",
    "one letter": "z" * 20,
    "blank": " " * 9,
    "product": "statusthing",
    "product decorated": "StatusThing-2026!",
    "username": "ada.lovelace",
    "username in capitals": "Ada.LOVELACE",
    "zero byte": "correct\0horse",
    "lone surrogate": "correct\ud800horse",
}

TAKEN = {
    "eight characters": "x7%kQ9zv",
    "most bytes": "ab" * 2_048,
    "words": "correct horse battery staple",
    "not Latin": "\u0440\u044b\u0431\u0430\u043f\u0438\u043b\u0430",
    "line break": "correct\nhorse",
}


@pytest.mark.parametrize("password", REFUSED.values(), ids=REFUSED)
@awaited
async def test_a_bad_password_is_refused_before_it_is_hashed(password: str) -> None:
    """Too short, too long, common, the product's and the user's own names: at every door."""
    async with place() as here:
        user = await here.person("ada.lovelace")
        with counted() as hashes:
            with pytest.raises(InvalidArgument) as added:
                await here.st.users.add(
                    username="ada.lovelace", password=password, role=Role.VIEWER
                )
            with pytest.raises(InvalidArgument) as updated:
                await here.st.users.update(
                    user.id, username="ada.lovelace", password=password, update_mask=["password"]
                )
            with pytest.raises(InvalidArgument) as changed:
                await here.st.users.change_password(
                    current_password=PASSWORD, new_password=password, principal=principal_of(user)
                )
            if "username" not in str(changed.value):  # known only once the account is
                assert (hashes.made, hashes.verified) == (0, 0)
        assert [error.value.field for error in (added, updated, changed)] == [
            "password",
            "password",
            "new_password",
        ]
        for error in (added, updated, changed):
            assert not password.strip() or password not in str(error.value)


@pytest.mark.parametrize("password", TAKEN.values(), ids=TAKEN)
@awaited
async def test_a_good_password_is_taken_as_it_is(password: str) -> None:
    """Any characters, from 8 of them to 4 096 bytes; what is alike but not the same is wrong."""
    async with place() as here:
        await here.st.users.add(username="ada", password=password, role=Role.VIEWER)

        assert await here.accounts.sign_in("ada", password)
        with pytest.raises(Unauthenticated):
            await here.accounts.sign_in("ada", f"{password} ")


@awaited
async def test_a_hash_is_argon2id_with_the_parameters_that_are_asked_for() -> None:
    """47 104 KiB, two passes, one lane; each hash has a salt of its own."""
    async with place() as here:
        one, other = [
            (await here.st.users.add(username=name, password=PASSWORD, role=Role.VIEWER)).id
            for name in ("one", "other")
        ]
        first, second = [(await here.user(id)).password_hash for id in (one, other)]

    parameters = extract_parameters(first)
    assert (parameters.type, parameters.memory_cost, parameters.time_cost) == (
        Type.ID,
        MEMORY_KIB,
        PASSES,
    )
    assert parameters.parallelism == 1
    assert parameters.hash_len >= 32
    assert parameters.salt_len >= 16
    assert first != second


@awaited
async def test_signing_in_renews_a_hash_with_other_parameters() -> None:
    """The new hash is of the same password; `updated` and `version` stay, for nobody has edited."""
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    async with place() as here:
        user = await here.person("ada", password_hash=old)

        await here.accounts.sign_in("ada", PASSWORD)

        after = await here.user(user.id)
        assert extract_parameters(after.password_hash).memory_cost == MEMORY_KIB
        assert (after.version, after.updated) == (user.version, user.updated)
        with counted() as hashes:
            await here.accounts.sign_in("ada", PASSWORD)
        assert (hashes.verified, hashes.made) == (1, 0)


@awaited
async def test_a_wrong_password_renews_nothing() -> None:
    """Parameters that have changed are no reason to hash what a stranger says."""
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    async with place() as here:
        user = await here.person("ada", password_hash=old)

        with counted() as hashes, pytest.raises(Unauthenticated):
            await here.accounts.sign_in("ada", "wrong horse battery")

        assert (hashes.verified, hashes.made) == (1, 0)
        assert (await here.user(user.id)).password_hash == old


@awaited
async def test_unknown_disabled_and_wrong_are_alike() -> None:
    """One hash is verified in each case, one failure counted, and the answer has the same words."""
    async with place() as here:
        await here.person("ada")
        await here.person("eve", disabled=True)
        await here.person("admin", development=True)
        texts = []
        for number, (username, password) in enumerate(
            [
                ("ada", "wrong horse battery"),
                ("eve", PASSWORD),
                ("admin", PASSWORD),
                ("nobody", PASSWORD),
                ("not\0a\nname", "x" * 100_000),
                ("\ud800", "\ud800"),
            ]
        ):
            origin = Origin(address=f"192.0.2.{number}")
            with counted() as hashes, pytest.raises(Unauthenticated) as refused:
                await here.accounts.sign_in(username, password, origin=origin)
            texts.append(str(refused.value))
            assert (hashes.verified, hashes.made) == (1, 0), username

            assert len(set(texts)) == 1
        assert len(await here.found(FailedSignIn)) == len(texts)


class Gate:
    """In the place of argon2: holds every call until it is opened, and then finds it wrong."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._open = threading.Event()

    def verify(self, *_: Any) -> bool:
        """Hold the call."""
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.threads.add(threading.current_thread())
            if self.inside == AT_ONCE:
                self._full.set()
        assert self._open.wait(SECONDS)
        with self._lock:
            self.inside -= 1
        raise VerifyMismatchError

    async def full(self) -> None:
        """Wait until as many are held as can be at once."""
        assert await asyncio.to_thread(self._full.wait, SECONDS)

    def open(self) -> None:
        """Let all go."""
        self._open.set()


@awaited
async def test_two_are_verified_at_once_and_32_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """More are refused at once, none on the thread of the event loop, and nothing is counted."""
    gate = Gate()
    monkeypatch.setattr(PasswordHasher, "verify", gate.verify)
    async with place() as here:
        await here.person("ada")

        async def sign_in(number: int) -> None:
            origin = Origin(address=f"192.0.2.{number}")
            await here.accounts.sign_in(f"somebody {number}", PASSWORD, origin=origin)

        tasks = [asyncio.create_task(sign_in(number)) for number in range(AT_ONCE + WAITING + 6)]
        await gate.full()
        done: set[asyncio.Task[None]] = set()
        while len(done) < 6:
            done, _ = await asyncio.wait(
                tasks, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            assert done
            await asyncio.sleep(0)
        assert {type(task.exception()) for task in done} == {TooBusy}
        assert len(done) == 6
        gate.open()
        ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(end) for end in ends].count(Unauthenticated) == AT_ONCE + WAITING
    assert gate.most == AT_ONCE
    assert threading.main_thread() not in gate.threads


@awaited
async def test_all_event_loops_together_verify_two_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that several threads use has the same two threads for passwords."""
    gate = Gate()
    monkeypatch.setattr(PasswordHasher, "verify", gate.verify)
    async with place() as here:

        async def sign_in(number: int) -> None:
            origin = Origin(address=f"192.0.2.{number}")
            with pytest.raises(Unauthenticated):
                await here.accounts.sign_in(f"somebody {number}", PASSWORD, origin=origin)

        async def three(first: int) -> None:
            await asyncio.gather(*(sign_in(first + number) for number in range(3)))

        def in_a_loop_of_its_own(first: int) -> None:
            asyncio.run(three(first))

        waiting = asyncio.gather(
            *(asyncio.to_thread(in_a_loop_of_its_own, first) for first in (0, 10))
        )
        await gate.full()
        gate.open()
        await waiting

    assert gate.most == AT_ONCE


@awaited
async def test_who_does_not_wait_has_failed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that is given up while it is verified keeps its turn, and counts."""
    gate = Gate()
    monkeypatch.setattr(PasswordHasher, "verify", gate.verify)
    async with place() as here:
        tasks = [
            asyncio.create_task(here.accounts.sign_in("ada", PASSWORD, origin=HERE))
            for _ in range(AT_ONCE)
        ]
        await gate.full()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        gate.open()
        await here.settled()
        audit = await here.st.audit.list()

    assert [type(end) for end in ends] == [asyncio.CancelledError] * AT_ONCE
    assert [entry.action for entry in audit].count("failed to sign in") == AT_ONCE


@awaited
async def test_a_password_may_not_be_the_username_that_is_stored() -> None:
    """Also where the request does not say the username."""
    async with place() as here:
        user = await here.person("ada.lovelace")

        with pytest.raises(InvalidArgument, match="username"):
            await here.st.users.update(user.id, password="Ada.Lovelace")

        assert (await here.user(user.id)).password_hash == hash_of_password()


@awaited
async def test_a_password_that_the_mask_leaves_out_is_not_looked_at() -> None:
    """It is neither checked nor hashed, nor set."""
    async with place() as here:
        user = await here.person("ada")

        with counted() as hashes:
            await here.st.users.update(
                user.id,
                password="\ud800",
                first_name="Ada",
                update_mask=["first_name"],
            )

        assert (hashes.made, hashes.verified) == (0, 0)
        after = await here.user(user.id)
        assert (after.first_name, after.password_hash) == ("Ada", user.password_hash)


@awaited
async def test_changing_a_password_takes_the_current_one() -> None:
    """A wrong one is refused, counts as a failed attempt, and changes nothing."""
    async with place() as here:
        user = await here.person("ada")
        principal = principal_of(user)

        with pytest.raises(Exception, match="current password is wrong"):
            await here.st.users.change_password(
                current_password="wrong horse battery",
                new_password="a new horse battery",
                principal=principal,
            )
        assert (await here.user(user.id)).password_hash == user.password_hash
        assert [e.action for e in await here.st.audit.list()].count("failed to sign in") == 1

        await here.st.users.change_password(
            current_password=PASSWORD,
            new_password="a new horse battery",
            principal=principal,
        )
        assert await here.accounts.sign_in("ada", "a new horse battery")
        with pytest.raises(Unauthenticated):
            await here.accounts.sign_in("ada", PASSWORD)
