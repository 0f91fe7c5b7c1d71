"""Records of every kind whose texts are all hostile; or harmless, to compare with.

`main` runs a server of hostile records, over memory. The secret of a session of somebody who may
see all of them is printed first, and then what `tests.conftest.serving` waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

from tests import accounts
from tests.first_run import announce
from tests.payloads import PAYLOADS

from statusthing import Principal, Role, StatusKind, StatusThing, build_app
from statusthing.memory import MemoryStore
from statusthing.model import User
from statusthing.server import run

_LONGEST = 190  # characters, ten less than a name may have


@dataclass(frozen=True)
class Text:
    """What is written into the fields of one record.

    Attributes:
        name: one line.
        lines: one or several.
    """

    name: str
    lines: str

    @property
    def word(self) -> str:
        """The lines without what URLs and addresses may not have."""
        return "".join(self.lines.split()).replace("@", "").replace("\\", "")

    @property
    def email(self) -> str:
        """An address, as far as that is checked."""
        return f"{self.word}@x.example"

    @property
    def url(self) -> str:
        """The URL of a page."""
        return f"https://x.example/{self.word}"

    @property
    def image(self) -> str:
        """The URL of an image that takes no request."""
        return f"data:image/svg+xml,{self.word}"

    @property
    def links(self) -> str:
        """Two links of the foot of the page."""
        return f"{self.name} {self.url}\n{self.name} mailto:{self.email}"


def harmless(number: int) -> Text:
    """Return a text to compare with."""
    return Text(f"harmless {number}", f"harmless text {number}")


def packed(texts: Iterable[str], between: str) -> list[str]:
    """Join texts to as few as there have to be with at most 190 characters."""
    packs: list[str] = []
    for text in texts:
        if packs and len(packs[-1]) + len(between) + len(text) <= _LONGEST:
            packs[-1] += between + text
        else:
            packs.append(text)
    return packs


_NAMES = [payload.text for payload in PAYLOADS if payload.is_name]
_URLS = [payload.text for payload in PAYLOADS if payload.category == "url"]
_SHIFTED = [payload.text for payload in (*PAYLOADS[1:], PAYLOADS[0])]

ONE_BY_ONE = [
    Text(payload.text if payload.is_name else harmless(number).name, _SHIFTED[number])
    for number, payload in enumerate(PAYLOADS)
]
"""A payload for each name and each text of several lines."""

TOGETHER = [
    Text(*each)
    for each in zip(
        # What becomes a link has to stand at the beginning.
        [*_URLS, *packed((text for text in _NAMES if text not in _URLS), " ")],
        cycle(packed(_SHIFTED, "\n\n")),  # which are fewer
        strict=False,
    )
]
"""All payloads, several in each name and each text of several lines, for pages of one record."""


class Ids(NamedTuple):
    """The ids of records."""

    items: list[str]
    notes: list[str]
    statuses: list[str]
    users: list[str]
    tokens: list[str]

    def of(self, index: int) -> dict[str, str]:
        """Return one of each kind, by the name of the kind."""
        return {
            "item": self.items[index],
            "note": self.notes[index],
            "status": self.statuses[index],
            "user": self.users[index],
            "token": self.tokens[index],
        }


async def fill(st: StatusThing, texts: Sequence[Text], *, statuses: int | None = None) -> Ids:
    """Add a record of each kind for each text, by somebody of that name, and settings of the last.

    The first item has as many notes besides.

    Args:
        st: the service.
        texts: what is in the records.
        statuses: how many statuses there are at most, if fewer than texts.
    """
    ids = Ids([], [], [], [], [])
    clock = accounts.Clock()
    for text in texts[:statuses]:
        status = await st.statuses.add(
            name=text.name, description=text.lines, kind=StatusKind.UP, color="teal"
        )
        ids.statuses.append(status.id)
    for text, status_id in zip(texts, cycle(ids.statuses), strict=False):
        actor = Principal(name=text.name, role=Role.ADMIN)
        item = await st.items.add(
            name=text.name,
            description=text.lines,
            initial_status_id=status_id,
            initial_note_text=text.lines,
            principal=actor,
        )
        token = await st.tokens.add(name=text.name, role=Role.VIEWER)
        ids.items.append(item.id)
        ids.notes.append(item.notes[0].id)
        ids.tokens.append(token.token.id)
        await st.notes.add(ids.items[0], text.lines)
    users = [user_of(text, number, clock) for number, text in enumerate(texts)]
    await accounts.Place(st, clock).add(*users)
    ids.users.extend(user.id for user in users)
    await st.settings.update(
        title=texts[-1].name,
        description=texts[-1].lines,
        footer=texts[-1].name,
        links=texts[-1].links,
        logo_url=texts[-1].image,
    )
    return ids


def user_of(text: Text, number: int, clock: accounts.Clock) -> User:
    """Return a user; their password is not hashed each time."""
    return User(
        id=f"user-{number:03}",
        created=clock(),
        updated=clock(),
        username=text.name,
        password_hash=accounts.hash_of_password(),
        first_name=text.name,
        last_name=text.name,
        email_address=text.email,
        avatar_url=text.url,
        role=Role.ADMIN,
    )


async def rewrite(st: StatusThing, ids: Ids, text: Text) -> Ids:
    """Put another text into the first record of each kind, and into the settings.

    A token cannot be changed, so another one takes its place.
    """
    known = ids.of(0)
    await st.statuses.update(known["status"], name=text.name, description=text.lines)
    await st.items.update(known["item"], name=text.name, description=text.lines)
    await st.notes.update(known["note"], text.lines)
    await st.users.update(
        known["user"],
        username=text.name,
        first_name=text.name,
        last_name=text.name,
        email_address=text.email,
        avatar_url=text.url,
    )
    await st.settings.update(
        title=text.name,
        description=text.lines,
        footer=text.name,
        links=text.links,
        logo_url=text.image,
    )
    await st.tokens.revoke(known["token"])
    owner = Principal(name=text.name, role=Role.ADMIN, user_id=known["user"])
    token = await st.tokens.add(name=text.name, role=Role.VIEWER, principal=owner)
    return ids._replace(tokens=[token.token.id])


async def session(st: StatusThing, ids: Ids, user_agent: str) -> str:
    """Sign the first user in, without a password, and return the secret of the session."""
    who = Principal(name="", role=Role.ADMIN, user_id=ids.users[0])
    return await st.accounts.renew_session(who, user_agent=user_agent)


def main() -> None:
    """Make the store, and serve it."""
    store = MemoryStore()

    async def made() -> str:
        async with StatusThing(store) as st:
            ids = await fill(st, ONE_BY_ONE)
            for text in ONE_BY_ONE:
                secret = await session(st, ids, text.lines)
            return secret

    print("token", asyncio.run(made()), flush=True)  # noqa: T201 - for the tests
    run(build_app(store), addr="127.0.0.1:0", on_start=announce)
