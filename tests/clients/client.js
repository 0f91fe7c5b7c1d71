// Makes calls with the clients for Node, as `client.py` does with others.
//
// A call is one JSON object per line on standard input, and its outcome one per line on standard
// output. Arguments: the certificate of an authority, and a file with the FileDescriptorSet of the
// services. See `tests/test_clients.py` for the meaning of the fields.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createFileRegistry, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";

const [authority, schema] = process.argv.slice(2).map((path) => readFileSync(path));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, schema));

const TRANSPORTS = {
  connect: createConnectTransport,
  grpc: createGrpcTransport,
  "grpc-web": createGrpcWebTransport,
};

function connectNode(client) {
  const transport = TRANSPORTS[client.protocol]({
    baseUrl: client.url,
    httpVersion: client.http2 ? "2" : "1.1",
    useBinaryFormat: client.encoding === "proto",
    useHttpGet: client.get,
    nodeOptions: { ca: authority },
    acceptCompression: client.gzip ? [compressionGzip] : [],
    sendCompression: client.gzip ? compressionGzip : undefined,
    compressMinBytes: 0,
  });
  return async ({ headers, milliseconds }, method, request) => {
    try {
      const answer = await transport.unary(
        method,
        undefined,
        milliseconds ?? undefined,
        headers,
        request,
      );
      return {
        code: "ok",
        answer: toJson(method.output, answer.message),
        headers: Object.fromEntries(answer.header),
      };
    } catch (caught) {
      const error = ConnectError.from(caught);
      return {
        code: Code[error.code].replace(/(?<=.)[A-Z]/g, "_$&").toLowerCase(),
        message: error.rawMessage,
        details: error.details.map(({ type, value }) => [type, base64(value)]),
        headers: Object.fromEntries(error.metadata),
      };
    }
  };
}

function grpcJs(client) {
  const { protocol, host } = new URL(client.url);
  const credentials =
    protocol === "https:"
      ? grpc.credentials.createSsl(authority)
      : grpc.credentials.createInsecure();
  const { gzip, identity } = grpc.compressionAlgorithms;
  const channel = new grpc.Client(host, credentials, {
    "grpc.default_compression_algorithm": client.gzip ? gzip : identity,
  });
  return ({ headers, milliseconds }, method, request) =>
    new Promise((resolve) => {
      const metadata = new grpc.Metadata();
      for (const [name, value] of Object.entries(headers)) {
        metadata.set(name, value);
      }
      let leading = {};
      channel
        .makeUnaryRequest(
          `/${method.parent.typeName}/${method.name}`,
          (message) => Buffer.from(toBinary(method.input, message)),
          (bytes) => fromBinary(method.output, bytes),
          request,
          metadata,
          milliseconds === null ? {} : { deadline: Date.now() + milliseconds },
          (error, message) =>
            resolve(
              error === null
                ? { code: "ok", answer: toJson(method.output, message), headers: leading }
                : {
                    code: grpc.status[error.code].toLowerCase(),
                    message: error.details,
                    details: detailsIn(error.metadata),
                    headers: { ...leading, ...error.metadata.getMap() },
                  },
            ),
        )
        .on("metadata", (received) => {
          leading = received.getMap();
        });
    });
}

function detailsIn(metadata) {
  return metadata
    .get("grpc-status-details-bin")
    .flatMap((status) => fromBinary(registry.getMessage("google.rpc.Status"), status).details)
    .map(({ typeUrl, value }) => [typeUrl.split("/").at(-1), base64(value)]);
}

function base64(bytes) {
  return Buffer.from(bytes).toString("base64");
}

const PROGRAMS = { "connect-node": connectNode, "grpc-js": grpcJs };
const clients = new Map();

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  const key = JSON.stringify(call.client);
  if (!clients.has(key)) {
    clients.set(key, PROGRAMS[call.client.program](call.client));
  }
  const method = registry.getService(call.service).methods.find(({ name }) => name === call.rpc);
  const outcome = await clients.get(key)(call, method, fromJson(method.input, call.fields));
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
process.exit(); // open connections would keep it alive
