"""Makes calls with the clients for Python and the command line, as `client.js` does with others.

A call is one JSON object per line on standard input, and its outcome one per line on standard
output. Arguments: a file with the FileDescriptorSet of the services, and the certificate of an
authority. See `tests/test_clients.py` for the meaning of the fields.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from connectrpc.client import ResponseMetadata
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc.status_pb2 import Status
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

from statusthing.v1 import services_connect, services_pb2

SECONDS = 10.0  # the deadline of calls that have none of their own

BUF = Path(sys.executable).with_name("buf")
BUF_PROTOCOLS = {"connect": "connect", "grpc": "grpc", "grpc-web": "grpcweb"}
CODECS = {"json": google_protobuf_json_codec, "proto": google_protobuf_binary_codec}
PROTOCOLS = {
    "connect": ProtocolType.CONNECT,
    "grpc": ProtocolType.GRPC,
    "grpc-web": ProtocolType.GRPC_WEB,
}

Json = dict[str, Any]
Make = Callable[[Json], Json]
"""Makes a call, and returns its outcome."""


def connectrpc(client: Json, authority: Path) -> Make:
    """Use the generated clients, or what they are made of for an RPC that they do not know."""
    gzip = GzipCompression()
    transport = SyncHTTPTransport(
        http_version=HTTPVersion.HTTP2 if client["http2"] else HTTPVersion.HTTP1,
        tls_ca_cert=authority.read_bytes(),
    )
    options: Json = {
        "codec": CODECS[client["encoding"]](),
        "protocol": PROTOCOLS[client["protocol"]],
        "accept_compression": [gzip] if client["gzip"] else [],
        "send_compression": gzip if client["gzip"] else None,
        "http_client": SyncClient(transport),
    }

    def make(call: Json) -> Json:
        name = f"{call['service'].rpartition('.')[2]}ClientSync"
        stub = getattr(services_connect, name)(client["url"], **options)
        given: Json = {"headers": call["headers"], "timeout_ms": call["milliseconds"]}
        if client["get"] and call["rpc"].startswith(("Get", "List")):
            given["use_get"] = True
        method = getattr(stub, re.sub(r"(?<=.)(?=[A-Z])", "_", call["rpc"]).lower(), None)
        if method is None:
            method, given["method"] = stub.execute_unary, unknown(call)
        with ResponseMetadata() as metadata:
            try:
                answer = method(request=request_of(call), **given)
            except ConnectError as error:
                details = [(each.type_name, each.message_bytes) for each in error.details]
                outcome = failed(error.code.value, error.message, details)
            else:
                outcome = {"code": "ok", "answer": MessageToDict(answer)}
        return {**outcome, "headers": dict(metadata.headers.allitems())}

    return make


def unknown(call: Json) -> MethodInfo[Any, Any]:
    """Describe an RPC that has no method in the generated clients."""
    return MethodInfo(
        name=call["rpc"],
        service_name=call["service"],
        input=getattr(services_pb2, call["input"]),
        output=getattr(services_pb2, call["output"]),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )


def grpcio(client: Json, authority: Path) -> Make:
    """Use the library that gRPC's generated stubs are made of."""
    url = urlsplit(client["url"])
    options = [("grpc.use_local_subchannel_pool", 1)]
    compression = grpc.Compression.Gzip if client["gzip"] else grpc.Compression.NoCompression
    if url.scheme == "https":
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        channel = grpc.secure_channel(url.netloc, credentials, options, compression)
    else:
        channel = grpc.insecure_channel(url.netloc, options, compression)

    def make(call: Json) -> Json:
        stub = channel.unary_unary(
            f"/{call['service']}/{call['rpc']}",
            request_serializer=getattr(services_pb2, call["input"]).SerializeToString,
            response_deserializer=getattr(services_pb2, call["output"]).FromString,
        )
        timeout = SECONDS if call["milliseconds"] is None else call["milliseconds"] / 1_000
        metadata = tuple(call["headers"].items())
        ended: Any = stub.future(request_of(call), timeout=timeout, metadata=metadata)
        headers, trailers = dict(ended.initial_metadata()), dict(ended.trailing_metadata())
        if ended.code() is grpc.StatusCode.OK:
            return {"code": "ok", "answer": MessageToDict(ended.result()), "headers": headers}
        status = Status.FromString(trailers.pop("grpc-status-details-bin", b""))
        details = [(each.TypeName(), each.value) for each in status.details]
        outcome = failed(ended.code().name.lower(), ended.details(), details)
        return {**outcome, "headers": headers | trailers}

    return make


def buf_curl(client: Json, authority: Path) -> Make:
    """Run `buf curl`, which always accepts gzip, and has no deadline for a call alone."""
    options = [f"--protocol={BUF_PROTOCOLS[client['protocol']]}", *client["options"]]
    if client["url"].startswith("https:"):
        options.append(f"--cacert={authority}")

    def make(call: Json) -> Json:
        url = f"{client['url']}/{call['service']}/{call['rpc']}"
        ended = subprocess.run(
            [
                *(BUF, "curl", url, "--verbose", "--data=@-", *options),
                *(f"--header={name}: {value}" for name, value in call["headers"].items()),
            ],
            input=json.dumps(call["fields"]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        told = re.findall(r"^buf: < \(#\d+\) ([\w-]+): (.*)$", ended.stderr, re.MULTILINE)
        if ended.returncode == 0:
            outcome = {"code": "ok", "answer": json.loads(ended.stdout)}
        else:
            error = json.loads(re.sub(r"^buf: .*\n", "", ended.stderr, flags=re.MULTILINE))
            details = [
                (each["type"], base64.b64decode(each["value"] + "=="))
                for each in error.get("details", ())
            ]
            outcome = failed(error["code"], error["message"], details)
        return {**outcome, "headers": {name.lower(): value for name, value in told}}

    return make


def request_of(call: Json) -> Any:
    """Return a call's request."""
    return ParseDict(call["fields"], getattr(services_pb2, call["input"])())


def failed(code: str, message: str, details: Iterable[tuple[str, bytes]]) -> Json:
    """Return the outcome of a call that failed."""
    encoded = [(name, base64.b64encode(value).decode()) for name, value in details]
    return {"code": code, "message": message, "details": encoded}


PROGRAMS = {"connectrpc": connectrpc, "grpcio": grpcio, "buf curl": buf_curl}


def main(authority: Path) -> None:
    """Make the calls that standard input gives, each client's over connections of its own."""
    clients: dict[str, Make] = {}
    for line in sys.stdin:
        call = json.loads(line)
        client = call["client"]
        key = json.dumps(client)
        if key not in clients:
            clients[key] = PROGRAMS[client["program"]](client, authority)
        print(json.dumps(clients[key](call)), flush=True)  # noqa: T201 - this is how it answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
