"""Passwords: which ones are good enough, and their hashes.

Argon2id takes tens of milliseconds and megabytes on purpose, so hashes are made in threads of their
own, few at a time, and only so many callers may wait for theirs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from statusthing.errors import InvalidArgument, TooBusy

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

LEAST_CHARACTERS = 8
MOST_BYTES = 4_096

AT_ONCE = 2
"""How many hashes are made at the same time, in a process."""

WAITING = 32
"""How many more callers may wait for theirs."""

MEMORY_KIB = 47_104
"""What a hash takes, with PASSES passes in one lane.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html asks for this much
memory with one pass at least.
"""

PASSES = 2

_NOBODYS = (
    "$argon2id$v=19$m=47104,t=2,p=1$3y0389xskZkq/ZA4uRRRZg"
    "$XXQedvyjmGuimyYPTfbVtEhMl45UPjqYV9/Me/WAVjY"
)
"""Of a password that nobody knows: what is verified where there is no account."""

_COMMON = frozenset(
    """
    00000000 000000000 0000000000 01234567 0123456789 0987654321 10203040 1020304050 11111111
    111111111 1111111111 11223344 1122334455 11235813 12121212 123123123 12312312 123321123
    12341234 1234512345 12344321 12345678 123456789 1234567890 12345678910 1234567891 12345678a
    123456789a 1234abcd 123qweasd 123qwe123 13131313 147258369 14725836 147852369 159357159
    159753159 18436572 1a2b3c4d 1g2w3e4r 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc
    1qazxsw2 20202020 21212121 22222222 222222222 23232323 31415926 33333333 44444444 55555555
    555555555 66666666 666666666 69696969 741852963 77777777 777777777 7777777777 789456123
    87654321 88888888 888888888 963852741 987654321 9876543210 99999999 999999999 9999999999
    a1234567 a12345678 a123456789 a1b2c3d4 aa123456 aaaaaaaa abc12345 abc123456 abcd1234 abcd12345
    abcdefgh abcdefg1 access14 admin123 admin1234 admin12345 admin123456 administrator adminadmin
    alexander anderson andromeda asd123456 asdasdasd asdf1234 asdfasdf asdfghjk asdfghjkl
    asdfghjkl1 babygirl babygirl1 baseball baseball1 basketball beautiful blink182 bobmarley
    butterfly caroline changeit changeme changeme1 changeme123 charlie1 charlie123 chelsea1
    chocolate christian christopher cinderella computer computer1 cowboys1 danielle december
    default1 defaultpassword dolphins dragon123 dragonball elizabeth einstein fairyland firebird
    football football1 forever1 freedom1 garfield gateway1 grateful guest123 hannover hardcore
    hello123 helloworld iloveyou iloveyou1 iloveyou2 iloveyou123 internet jennifer jessica1
    jonathan jordan23 justdoit kawasaki killer123 lakers24 letmein1 letmein123 letmein! liverpool
    liverpool1 login123 logitech lovelove loveyou1 manchester marlboro master12 master123 maverick
    mercedes metallica michael1 michelle midnight mistress monkey12 monkey123 motorola mountain
    mustang1 mypassword nicholas nintendo november p@ssw0rd p@ssw0rd1 p@ssword p@ssword1 pa$$w0rd
    pa55word pass1234 pass12345 passpass passw0rd passw0rd! passw0rd1 password password! password.
    password0 password00 password01 password1 password1! password10 password11 password12
    password123 password123! password1234 password12345 password2 password3 password7 password9
    passwort patricia platinum playstation pokemon1 precious princess princess1 qazwsx12
    qazwsxedc q1w2e3r4 q1w2e3r4t5 q1w2e3r4t5y6 qwe12345 qwer1234 qwerasdf qwerqwer qwert123
    qwert12345 qwerty12 qwerty123 qwerty1234 qwerty12345 qwerty123456 qwertyui qwertyuiop
    qwertyuiop1 qweasdzxc qweqweqwe rainbow1 redskins remember rootroot samantha samsung1
    secret12 secret123 security september shithead skywalker slipknot snickers snowball softball
    spiderman starwars starwars1 steelers summer01 summer123 sunshine sunshine1 superman superman1
    superstar supervisor swordfish temppass temporary test1234 test12345 test123456 testing1
    testing123 testtest thunder1 tinkerbell trustno1 undertaker user1234 valentin veronica
    victoria voyager1 warcraft welcome1 welcome12 welcome123 welcome1234 whatever william1
    windows10 winter123 wolverine xxxxxxxx yankees1 yourpassword zaq12wsx zaq1xsw2 zaq1zaq1
    zxcvbnm1 zxcvbnm123 zxcvbnma zxcvzxcv
    """.split()  # noqa: SIM905 - a list of hundreds of strings would be read by nobody
)
_OWN_NAME = "statusthing"


def password(field: str, value: str, username: str = "") -> str:
    """Require a password that is neither too short nor among the first that are guessed.

    Args:
        field: how the request calls it.
        value: the password.
        username: whose it will be.

    Raises:
        InvalidArgument: LEAST_CHARACTERS code points to MOST_BYTES bytes of UTF-8 are allowed; not
            among them the most common passwords, the name of this software and that of the user.
    """
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be a string")
    if len(value) < LEAST_CHARACTERS:
        raise InvalidArgument(field, f"must have at least {LEAST_CHARACTERS} characters")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(field, "has a lone surrogate") from error
    if size > MOST_BYTES:
        raise InvalidArgument(field, f"has {size} bytes; {MOST_BYTES} are allowed")
    if "\0" in value:
        raise InvalidArgument(field, "has a control character, U+0000")
    plain = value.casefold().strip()
    if not plain:
        raise InvalidArgument(field, "cannot be blank")
    if plain in _COMMON or len(set(plain)) == 1:
        raise InvalidArgument(field, "is one of the most common passwords: choose another one")
    if plain.strip("0123456789!.-_ ") == _OWN_NAME:
        raise InvalidArgument(field, "is the name of this software: choose another one")
    if username and plain == username.casefold().strip():
        raise InvalidArgument(field, "is the username: choose another one")
    return value


class Passwords:
    """Makes and verifies hashes; works from any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0
        self._threads: ThreadPoolExecutor | None = None
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until it is this caller's turn to hash or verify, and take it.

        Raises:
            TooBusy: too many callers wait already.
        """
        with self._lock:
            if self._callers >= AT_ONCE + WAITING:
                raise TooBusy
            self._callers += 1
            # A semaphore belongs to one event loop; the threads are the same for all of them.
            turns = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))
        try:
            async with turns:
                yield
        finally:
            with self._lock:
                self._callers -= 1

    async def hash(self, password: str) -> str:
        """Return a new hash of a password, when it is this caller's turn; see `turn`."""
        async with self.turn():
            return await self._in_thread(lambda: _hasher().hash(password))

    async def verify(self, password: str, known: str | None) -> bool:
        """Return whether a password is that of a hash; to be called in a `turn`.

        Args:
            password: what somebody says it is.
            known: the hash; without one as much work is done, and the answer is false.
        """
        right = await self._in_thread(lambda: _is_hash_of(known or _NOBODYS, password))
        return right and known is not None

    def is_outdated(self, known: str) -> bool:
        """Return whether a hash was made with other parameters than new ones are."""
        return _hasher().check_needs_rehash(known)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(AT_ONCE, "statusthing-passwords")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _is_hash_of(known: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError  # noqa: PLC0415 - as `_hasher`

    try:
        # One byte more than allowed is as wrong as a million more, and takes less time.
        return _hasher().verify(known, password.encode("utf-8", "replace")[: MOST_BYTES + 1])
    except (Argon2Error, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    # Imported when the first password comes: most processes never see one.
    from argon2 import PasswordHasher  # noqa: PLC0415

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
