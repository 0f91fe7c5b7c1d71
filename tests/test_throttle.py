"""Those who guess passwords: after how many failures they are refused, and who else is not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.accounts import (
    PASSWORD,
    Clock,
    Place,
    awaited,
    counted,
    place,
    principal_of,
)
from tests.conftest import STORES
from tests.sites import SAME, Site, site

from statusthing import open_store
from statusthing.access import Origin, Role
from statusthing.errors import TooManyAttempts, Unauthenticated
from statusthing.memory import MemoryStore
from statusthing.model import FailedSignIn, Throttle
from statusthing.service import throttle
from statusthing.service.passwords import AT_ONCE
from statusthing.store import Transaction

WRONG = "wrong horse battery"
CHANGE = "UsersService/ChangePassword"


async def fail(here: Place, account: str, addresses: Iterable[str]) -> None:
    """Have attempts fail, one from each address, without the passwords."""

    def work(tx: Transaction) -> None:
        for address in addresses:
            throttle.count_failure(tx, account, address, here.clock())

    await here.st.store.write(work, now=here.clock())


async def attempt(here: Place, username: str, password: str, address: str) -> str:
    """Try to sign in, and return what came of it."""
    try:
        await here.accounts.sign_in(username, password, origin=Origin(address=address))
    except (TooManyAttempts, Unauthenticated) as error:
        return type(error).__name__
    return "in"


@awaited
async def test_ten_failures_of_an_account_from_an_address_are_all() -> None:
    """The next attempt is refused for what is left of 15 minutes, before anything is hashed."""
    async with place() as here:
        await here.person("ada")
        with counted(instant=True) as hashes:
            for _ in range(10):
                assert await attempt(here, "ada", WRONG, "192.0.2.1") == "Unauthenticated"
        assert hashes.verified == 10
        here.clock.pass_by(minutes=5)

        with counted() as hashes, pytest.raises(TooManyAttempts) as refused:
            await here.accounts.sign_in("ada", PASSWORD, origin=Origin(address="192.0.2.1"))

        assert (hashes.made, hashes.verified) == (0, 0)
        assert refused.value.seconds == 10 * 60
        assert await attempt(here, "eve", WRONG, "192.0.2.1") == "Unauthenticated"
        here.clock.pass_by(minutes=10)
        assert await attempt(here, "ada", PASSWORD, "192.0.2.1") == "in"


@awaited
async def test_a_hundred_failures_from_an_address_are_all() -> None:
    """Whatever accounts they were about, known or not."""
    async with place() as here:
        await here.person("ada")
        for number in range(100):
            await fail(here, f"name {number}", ["192.0.2.1"])

        with counted() as hashes:
            assert await attempt(here, "ada", PASSWORD, "192.0.2.1") == "TooManyAttempts"
        assert hashes.verified == 0
        assert await attempt(here, "ada", PASSWORD, "192.0.2.2") == "in"


@awaited
async def test_success_neither_counts_nor_forgives() -> None:
    """Signing in often is fine, and does not give guessers their attempts back."""
    async with place() as here:
        await here.person("ada")
        await fail(here, "ada", ["192.0.2.1"] * 9)

        assert await attempt(here, "ada", PASSWORD, "192.0.2.1") == "in"
        assert await attempt(here, "ada", PASSWORD, "192.0.2.1") == "in"
        assert await attempt(here, "ada", WRONG, "192.0.2.1") == "Unauthenticated"
        assert await attempt(here, "ada", PASSWORD, "192.0.2.1") == "TooManyAttempts"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "2001:0DB8:0::0002", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
@awaited
async def test_an_address_of_version_6_stands_for_its_network(
    one: str, other: str, *, same: bool
) -> None:
    """A subscriber has a /64, and addresses of version 4 that are mapped are what they map."""
    async with place() as here:
        await fail(here, "ada", [one] * 10)

        with counted(instant=True):
            found = await attempt(here, "ada", WRONG, other)

        assert found == ("TooManyAttempts" if same else "Unauthenticated")


@pytest.mark.parametrize("spelling", ["ADA", "aDa", "Ada"])
@awaited
async def test_how_a_name_is_spelled_does_not_matter(spelling: str) -> None:
    """Nobody gets ten more attempts for other letters."""
    async with place() as here:
        await fail(here, "ada", ["192.0.2.1"] * 10)

        assert await attempt(here, spelling, WRONG, "192.0.2.1") == "TooManyAttempts"


@pytest.mark.parametrize("spelling", ["ada ", " ada", "\uff41da", "ad\u0430", "ada\u200b", "ada\0"])
@awaited
async def test_a_name_that_only_looks_alike_opens_no_account(spelling: str) -> None:
    """It has attempts of its own, of which none can succeed, and they count for the address."""
    async with place() as here:
        await here.person("ada")
        await fail(here, "ada", ["192.0.2.1"] * 10)

        with counted() as hashes:
            assert await attempt(here, spelling, PASSWORD, "192.0.2.1") == "Unauthenticated"

        assert hashes.verified == 1


@awaited
async def test_an_account_that_many_addresses_try_answers_later() -> None:
    """Nobody is locked out of their account; the wait grows to five seconds."""
    addresses = [f"192.0.2.{number}" for number in range(200)]
    waits = []
    async with place() as here:
        await here.person("ada")
        await fail(here, "ada", addresses[:9])

        async def wait() -> float:
            return await here.st.store.read(
                lambda tx: throttle.check(tx, "ada", "203.0.113.1", here.clock())
            )

        assert await wait() == 0
        loop = asyncio.get_running_loop()
        await fail(here, "ada", addresses[9:10])
        began = loop.time()
        assert await attempt(here, "ada", PASSWORD, "203.0.113.1") == "in"
        assert loop.time() - began >= 0.1
        for address in addresses[10:]:
            waits.append(await wait())
            await fail(here, "ada", [address])

        assert waits[0] == pytest.approx(0.1)
        assert waits == sorted(waits)
        assert waits[-1] == throttle.LATEST_SECONDS == 5
        here.clock.pass_by(minutes=15)
        assert await wait() == 0


@pytest.mark.parametrize("kind", STORES)
def test_services_on_one_store_count_together(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whichever process is asked."""
    stores: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[str]]] = STORES

    async def main(url: str) -> None:
        store, clock = open_store(url), Clock()
        other = store if kind == "memory" else open_store(url)
        async with place(store, clock=clock) as here, place(other, clock=clock) as there:
            with counted(instant=True) as hashes:
                for turn in itertools.islice(itertools.cycle([here, there]), 10):
                    assert await attempt(turn, "ada", WRONG, "192.0.2.1") == "Unauthenticated"
                for turn in here, there:
                    assert await attempt(turn, "ada", WRONG, "192.0.2.1") == "TooManyAttempts"
            assert hashes.verified == 10

    with stores[kind](tmp_path, request) as url:
        asyncio.run(main(url))


@awaited
async def test_a_burst_gets_no_more_than_what_is_in_flight() -> None:
    """Of many attempts at once, two more than the limit are verified at most."""
    async with place() as here:
        await here.person("ada")
        with counted(instant=True) as hashes:
            ends = []
            for _ in range(5):
                ends += await asyncio.gather(
                    *(attempt(here, "ada", WRONG, "192.0.2.1") for _ in range(30))
                )

        assert hashes.verified <= 10 + AT_ONCE
        assert ends.count("Unauthenticated") == hashes.verified


@awaited
async def test_what_failed_is_forgotten_in_time() -> None:
    """Counters are swept after 15 minutes, failed attempts after 30 days: the store stays small."""
    async with place() as here:
        with counted(instant=True):
            for number in range(30):
                await attempt(here, f"name {number}", WRONG, f"192.0.2.{number}")
            here.clock.pass_by(minutes=16)
            await attempt(here, "late", WRONG, "203.0.113.1")
            assert len(await here.found(Throttle)) == 3
            here.clock.pass_by(days=31)
            await attempt(here, "later", WRONG, "203.0.113.1")
        assert len(await here.found(FailedSignIn)) == 1


@awaited
async def test_attempts_that_are_refused_write_nothing() -> None:
    """Whoever is refused cannot fill the store or keep it busy."""

    class Counting(MemoryStore):
        written = 0

        async def write(self, work: Any, *, now: Any) -> Any:
            self.written += 1
            return await super().write(work, now=now)

    store = Counting()
    async with place(store) as here:
        await fail(here, "ada", ["192.0.2.1"] * 10)
        before = store.written

        for _ in range(50):
            await attempt(here, "ada", WRONG, "192.0.2.1")

        assert store.written == before


async def token_of(here: Site, username: str) -> str:
    """Add a viewer with a token, and return its secret."""
    user = await here.person(username)
    added = await here.st.tokens.add(name="ci", role=Role.VIEWER, principal=principal_of(user))
    return added.secret


@awaited
async def test_guesses_of_a_current_password_count_too() -> None:
    """Over the API it is `resource_exhausted`, 429, and Retry-After says when to come back."""
    async with site() as here:
        token = await token_of(here, "ada")
        async with here.client() as client:
            with counted(instant=True) as hashes:
                for _ in range(10):
                    answer = await client.rpc(
                        CHANGE, token, currentPassword=WRONG, newPassword="a new horse"
                    )
                    assert answer.json()["code"] == "permission_denied"
                here.clock.pass_by(minutes=10)
                answer = await client.rpc(
                    CHANGE, token, currentPassword=PASSWORD, newPassword="a new horse"
                )
            form = await client.sign_in("ada", PASSWORD)
        assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")
        assert answer.headers["retry-after"] == "300"
        assert (form.status_code, form.headers["retry-after"]) == (429, "300")
        assert hashes.verified == 10


@pytest.mark.parametrize("path", ["form", "rpc"])
@awaited
async def test_a_thousand_guesses_with_forged_addresses(path: str) -> None:
    """Nobody who is not trusted says who they are: X-Forwarded-For and its like are ignored."""
    async with site() as here:
        token = await token_of(here, "ada")
        async with here.client(headers=SAME) as client:
            with counted(instant=True) as hashes:
                for number in range(1_000):
                    client.headers.update(
                        {
                            "x-forwarded-for": f"203.0.113.{number % 256}, 10.0.{number // 256}.1",
                            "x-real-ip": f"203.0.113.{number % 256}",
                            "forwarded": f"for=203.0.113.{number % 256}",
                            "cf-connecting-ip": f"203.0.113.{number % 256}",
                        }
                    )
                    if path == "form":
                        await client.sign_in("ada", WRONG)
                    else:
                        await client.rpc(
                            CHANGE, token, currentPassword=WRONG, newPassword="a new horse"
                        )
            assert hashes.verified <= 10
        failures = await here.found(FailedSignIn)
        assert {failure.address for failure in failures} == {"192.0.2.1"}


@awaited
async def test_behind_a_proxy_the_address_is_the_last_that_it_does_not_trust() -> None:
    """Whatever a client writes before it is not looked at; ten attempts are all they have."""
    async with site(trusted_proxies=["10.0.0.0/8", "fd00::/8"]) as here:
        async with here.client(address="10.0.0.7") as client:
            with counted(instant=True) as hashes:
                for number in range(1_000):
                    client.headers["x-forwarded-for"] = (
                        f"203.0.113.{number % 256}, 198.51.100.{number % 256}, 192.0.2.9, fd00::1"
                    )
                    await client.sign_in("ada", WRONG)
            assert hashes.verified == 10
            client.headers["x-forwarded-for"] = "192.0.2.10, 10.1.1.1"
            with counted(instant=True):
                assert (await client.sign_in("ada", WRONG)).status_code == 401
        failures = await here.found(FailedSignIn)
        assert {failure.address for failure in failures} == {"192.0.2.9", "192.0.2.10"}


@pytest.mark.parametrize(
    "said", ["", "unknown", "192.0.2.1:80", "[2001:db8::1]", "x, ,", "192.0.2.1, _hidden"]
)
@awaited
async def test_what_is_no_address_is_not_taken_for_one(said: str) -> None:
    """A trusted proxy that says nothing that can be read counts itself."""
    async with site(trusted_proxies=["10.0.0.7"]) as here:
        async with here.client(address="10.0.0.7") as client:
            client.headers["x-forwarded-for"] = said
            with counted(instant=True):
                await client.sign_in("ada", WRONG)
        (failure,) = await here.found(FailedSignIn)
        assert failure.address == "10.0.0.7"
