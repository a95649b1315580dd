// The way into a sandbox's port, as the platform's proxies go it: HTTP/1.1, a connection per request, nothing buffered.

import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { Sandbox } from "./sandbox.ts";

export function forward(sandbox: Sandbox, request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request;
  sandbox.connections.add(socket);
  response.on("close", () => sandbox.connections.delete(socket));
  const { connection: _, ...headers } = request.headers;
  const { method, url } = request;
  const inner = httpRequest({ host: "127.0.0.1", port: sandbox.port, method, path: url, headers, agent: false });
  inner.on("response", (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.on("error", () => response.destroy()).pipe(response);
  });
  inner.on("error", () => response.destroy());
  response.on("close", () => inner.destroy());
  request.pipe(inner);
}
