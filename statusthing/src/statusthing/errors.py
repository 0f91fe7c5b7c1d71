"""Every error this library raises on purpose, and what each one means to its caller.

Three families share one root:

* `RequestError`: somebody asked for something that cannot be done. The message is for the person
  who asked, names the field where there is one, and holds nothing secret. How each class is spelled
  on the wire is the business of `statusthing.rpc`.
* `StoreError`: the store cannot serve now, or was used against its contract.
* `UserMistake`: the person at the command line, or the author of a URL, gave something that cannot
  work. The message is one clear line that says what to do.

Anything else that escapes is a defect: it is logged with its traceback, and callers get a neutral
answer.
"""

from __future__ import annotations


class StatusThingError(Exception):
    """The root of the family."""


def with_cause(error: BaseException) -> str:
    """Return an error's text with that of its cause in one line, for the operator's eyes."""
    if error.__cause__ is None:
        return str(error)
    cause = repr(error.__cause__).replace("\\n", " ").replace("\\t", " ")
    return f"{error} ({cause})"


class RequestError(StatusThingError):
    """A request that cannot be carried out as it stands.

    Attributes:
        revision: the head revision at which the error arose; None if the store was not asked.
    """

    revision: int | None = None


class InvalidArgument(RequestError):
    """A value breaks a rule, whatever the store holds.

    Args:
        field: the request field as the contract spells it, `initial_status.color` for a nested one;
            empty when the request as a whole is at fault.
        problem: what is wrong, as the end of a sentence that starts with the field's name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}" if field else problem)
        self.field = field
        self.problem = problem


class NotFound(RequestError):
    """No record of that kind has that id."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"no {kind.lower()} has the id {id!r}")
        self.kind = kind
        self.id = id


class MissingReference(NotFound):
    """A record names another that does not exist.

    Args:
        kind: the kind of the record that is missing.
        id: the id that was named.
        field: the field that names it.
    """

    def __init__(self, kind: str, id: str, field: str) -> None:
        super().__init__(kind, id)
        self.field = field


class AlreadyExists(RequestError):
    """Another record has the same value in a field that admits each value once."""

    def __init__(self, kind: str, field: str, value: str) -> None:
        super().__init__(f"the {kind.lower()} {field} {value!r} is already taken")
        self.kind = kind
        self.field = field
        self.value = value


class InUse(RequestError):
    """A record cannot be removed while others refer to it.

    Args:
        kind: the kind of the record that was to be removed.
        id: its id.
        count: how many records refer to it.
    """

    def __init__(self, kind: str, id: str, count: int) -> None:
        users = "1 record uses it" if count == 1 else f"{count} records use it"
        super().__init__(f"the {kind.lower()} {id!r} cannot be removed: {users}")
        self.kind = kind
        self.id = id
        self.count = count


class VersionConflict(RequestError):
    """The record changed since the version that the caller has seen."""

    def __init__(self, kind: str, id: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"the {kind.lower()} {id!r} is at version {actual}, not at {expected}: "
            "read it again and repeat the change"
        )
        self.kind = kind
        self.id = id
        self.expected = expected
        self.actual = actual


class TooManyResults(RequestError):
    """A list without a page size would hold more than one answer may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} results: set page_size and follow next_page_token")
        self.limit = limit


class DeadlineExceeded(RequestError):
    """There was no time left when the operation would have begun; it had no effect."""

    def __init__(self) -> None:
        super().__init__("the deadline has passed")


class Unauthenticated(RequestError):
    """The operation needs to know who asks, and the request does not say."""


class PermissionDenied(RequestError):
    """The caller is known, but lacks the role."""


class SetupLinkInvalid(PermissionDenied):
    """The link does not make the first admin: it never did, or it is too old."""

    def __init__(self) -> None:
        super().__init__("this setup link is not valid, or not any more")


class LastAdmin(RequestError):
    """Nobody could manage users any more after that."""

    def __init__(self, username: str) -> None:
        super().__init__(f"{username!r} is the last enabled admin: make another one first")


class TooManyAttempts(RequestError):
    """Signing in has failed too often.

    Args:
        seconds: after how many it can be tried again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many attempts failed, try again in {seconds} seconds")
        self.seconds = seconds


class TooBusy(RequestError):
    """Too many passwords are being checked already; nothing was tried."""

    def __init__(self) -> None:
        super().__init__("too many passwords are being checked, try again")


class StoreError(StatusThingError):
    """The store cannot serve, or was used against its contract."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot work now; the unit had no effect."""


class OutcomeUnknown(StoreUnavailable):
    """The store was lost during a write, and was away for too long to ask it.

    Either all of the unit took effect or nothing of it. An Add with a `request_id` can be repeated.
    """


class StoreClosed(StoreUnavailable):
    """The store was closed, or never opened, in this process."""


class SchemaMismatch(StoreError):
    """The data was laid out by another version of this software; nothing was touched."""


class SchemaOutdated(SchemaMismatch):
    """The data is older than the code: `migrate` brings it up to date."""


class SchemaTooNew(SchemaMismatch):
    """The data is newer than the code: install the newer code."""


class NestedUnit(StoreError):
    """A unit of work started another one, which could only wait for the first."""


class UnloggedWrite(StoreError):
    """A unit changed a logged record and appended no change to the log, or the other way round."""


class UserMistake(StatusThingError):
    """What the operator gave cannot work; the message is one line that says what to do."""
