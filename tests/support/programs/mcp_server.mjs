// A server of tools over its standard streams, without dependencies. Its tool `echo` says what it was told, what stands
// in its variable LAB and in its first argument.
import { createInterface } from "node:readline";

const tool = { name: "echo", description: "Echoes", inputSchema: { type: "object", properties: { text: { type: "string" } } } };
const answers = {
  initialize: (params) => ({
    protocolVersion: params.protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "lab", version: "1" },
  }),
  "tools/list": () => ({ tools: [tool] }),
  "tools/call": (params) => ({
    content: [{ type: "text", text: `lab says ${params.arguments.text} ${process.env.LAB} ${process.argv[2]}` }],
  }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id !== undefined) {
    const result = answers[method]?.(params) ?? {};
    console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
  }
}
