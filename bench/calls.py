"""RPCs under load: StatusThing and two baselines take turns on the same machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grpc
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from bench import Figures, Measure, load
from bench.processes import TICK_SECONDS, Process, serving
from statusthing.v1 import services_pb2

WARM_UP = 0.2
"""What part of a turn's time a warm-up takes before it."""

_OK = 200

_METHODS = {
    method.name: method
    for service in services_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Pace(NamedTuple):
    """How thorough to be.

    Attributes:
        rounds: in each of which everything has its turn.
        seconds: how long a program is under load in its turn.
    """

    rounds: int
    seconds: float


class Protocol(NamedTuple):
    """How messages are written, and what sends them: one, or many."""

    encode: Callable[[Message], bytes]
    decode: Callable[[bytes, Message], object]
    ask: Callable[[str, str, bytes, str], bytes]
    load: load.Client


def compare(
    server: Process,
    rpc: str,
    protocol: Protocol,
    requests: Sequence[Message],
    *,
    token: str,
    pace: Pace,
    folder: Path,
) -> Measure:
    """Measure StatusThing's answers to an RPC against baselines that repeat one of them.

    Args:
        server: StatusThing.
        rpc: its name.
        protocol: which one all of them speak.
        requests: sent in turn.
        token: sent with each of them, to the baselines too.
        pace: how often, and how long.
        folder: for the files that the baselines need.

    Returns:
        See `in_turns`.
    """
    method = _METHODS[rpc]
    path = _path(rpc)
    bodies = [protocol.encode(request) for request in requests]
    body = post(server.address, path, JSON.encode(requests[0]), token)
    answer = getattr(services_pb2, method.output_type.name)()
    JSON.decode(body, answer)
    with _baselines(rpc, body, answer, folder) as baselines:
        for name, process in baselines.items():
            repeated = type(answer)()
            protocol.decode(protocol.ask(process.address, path, bodies[0], token), repeated)
            if repeated != answer:
                raise RuntimeError(f"{name} answers {repeated}, StatusThing {answer}")
        programs = {"statusthing": server, **baselines}
        return in_turns(
            {
                name: partial(load_of, process, rpc, protocol, requests, token, pace.seconds)
                for name, process in programs.items()
            },
            pace.rounds,
        )


def in_turns(programs: Mapping[str, Callable[[], Figures]], rounds: int) -> Measure:
    """Measure StatusThing and baselines, each once in a round.

    Returns:
        The medians of the rounds. Ratios are taken within a round, because other work on the
        machine changes from round to round.
    """
    taken = [{name: measure() for name, measure in programs.items()} for _ in range(rounds)]
    return _medians([_with_ratios(each) for each in taken])


def _path(rpc: str) -> str:
    return f"/{_METHODS[rpc].containing_service.full_name}/{rpc}"


@contextmanager
def _baselines(
    rpc: str, body: bytes, answer: Message, folder: Path
) -> Iterator[dict[str, Process]]:
    """Run both, which repeat an answer, given as JSON and as a message."""
    as_json, as_message = folder / f"{rpc}.json", folder / f"{rpc}.bin"
    as_json.write_bytes(body)
    as_message.write_bytes(answer.SerializeToString())
    python = (sys.executable, "-m")
    with (
        serving(folder / "echo.log", *python, "bench.echo", rpc, str(as_message)) as echo,
        serving(folder / "bare.log", *python, "bench.bare", str(as_json), str(as_message)) as bare,
    ):
        yield {"echo": echo, "bare": bare}


def load_of(  # noqa: PLR0917 - as `compare`, for each of the programs
    process: Process,
    rpc: str,
    protocol: Protocol,
    requests: Sequence[Message],
    token: str,
    seconds: float,
) -> Figures:
    """Measure the answers of one program to an RPC, for so many seconds after a warm-up."""
    path = _path(rpc)
    bodies = [protocol.encode(request) for request in requests]
    size = len(protocol.ask(process.address, path, bodies[0], token))
    call = load.Call(path, bodies, size, token)
    warm_up = protocol.load(process.address, call, seconds * WARM_UP)
    before = process.cpu_seconds()
    came = protocol.load(process.address, call, seconds)
    cpu_seconds = max(process.cpu_seconds() - before, TICK_SECONDS)
    return {
        "rps": came.calls / came.seconds,
        "p50_ms": came.p50 * 1_000,
        "p99_ms": came.p99 * 1_000,
        "errors": warm_up.errors + came.errors,
        "cpu_seconds": cpu_seconds,
        "cpu_us_per_call": cpu_seconds / came.calls * 1_000_000,
        "resident_mib": process.resident_mib(),
    }


def _with_ratios(taken: Measure) -> Measure:
    own = taken["statusthing"]
    ratios = {
        f"statusthing/{name}": {
            figure: own[figure] / value for figure, value in figures.items() if figure != "errors"
        }
        for name, figures in taken.items()
        if figures is not own
    }
    return taken | ratios


def _medians(rounds: list[Measure]) -> Measure:
    return {
        name: {
            # One error in one round is one too many.
            figure: (sum if figure == "errors" else median)(each[name][figure] for each in rounds)
            for figure in figures
        }
        for name, figures in rounds[0].items()
    }


def post(address: str, path: str, body: bytes, token: str = "") -> bytes:
    """Return the answer to JSON over HTTP/1.1."""
    headers = {"content-type": "application/json", **load.credentials(token)}
    connection = HTTPConnection(address, timeout=load.ANSWER_SECONDS)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != _OK:
        raise RuntimeError(f"{path} answers {response.status}: {answer!r}")
    return answer


def _call(address: str, path: str, body: bytes, token: str) -> bytes:
    """Return the answer to a message over gRPC."""
    metadata = tuple(load.credentials(token).items())
    with grpc.insecure_channel(address) as channel:
        return load.raw(channel, path)(body, timeout=load.ANSWER_SECONDS, metadata=metadata)


JSON = Protocol(
    encode=lambda message: MessageToJson(message).encode(),
    decode=Parse,
    ask=post,
    load=load.http,
)

GRPC = Protocol(
    encode=lambda message: message.SerializeToString(),
    decode=lambda data, message: message.MergeFromString(data),
    ask=_call,
    load=load.grpc_channel,
)
