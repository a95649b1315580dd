// A client of the Claude Agent SDK server pattern, with the SDK's own types: `node sdk.ts HOST CONFIG`.
//
// It configures, says something, interrupts what hangs, goes away and comes back. It prints one JSON document of what it
// heard.

import type { Options, SDKMessage, SDKUserMessage } from "@anthropic-ai/claude-agent-sdk";

type Config = Pick<
  Options,
  "agents" | "allowedTools" | "env" | "includePartialMessages" | "maxTurns" | "mcpServers" | "model" | "systemPrompt"
> & { anthropicApiKey?: string };

type Input = { type: "user_message"; data: SDKUserMessage } | { type: "interrupt" };

type Output = { seq?: number; session?: string } & (
  | { type: "connected" }
  | { type: "sdk_message"; data: SDKMessage }
  | { type: "info"; data: string }
  | { type: "error"; error: string }
);

const [host, text] = process.argv.slice(2);
if (host === undefined || text === undefined) throw new Error("usage: sdk.ts HOST CONFIG");
const config: Config = JSON.parse(text);

class Client {
  readonly heard: Output[] = [];
  #waiting: (() => void)[] = [];
  readonly #socket: WebSocket;

  constructor(query = "") {
    this.#socket = new WebSocket(`ws://${host}/ws${query}`);
    this.#socket.onmessage = ({ data }) => {
      this.heard.push(JSON.parse(String(data)));
      for (const wake of this.#waiting.splice(0)) wake();
    };
  }

  send(message: Input) {
    this.#socket.send(JSON.stringify(message));
  }

  say(content: string) {
    const message: SDKUserMessage["message"] = { role: "user", content };
    this.send({ type: "user_message", data: { type: "user", session_id: "", parent_tool_use_id: null, message } });
  }

  async until(wanted: (message: Output) => boolean, from = 0): Promise<number> {
    for (;;) {
      const at = this.heard.findIndex((message, index) => index >= from && wanted(message));
      if (at >= 0) return at + 1;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  close() {
    this.#socket.close();
  }
}

const isResult = (message: Output) => message.type === "sdk_message" && message.data.type === "result";

const posted = await fetch(`http://${host}/config`, { method: "POST", body: JSON.stringify(config) });
const configured: unknown = await posted.json();
const shown = await (await fetch(`http://${host}/config`)).text();

const one = new Client();
const other = new Client();
await Promise.all([one, other].map((client) => client.until((message) => message.type === "connected")));

one.say("hello");
let at = await one.until(isResult);
await other.until(isResult);
const last = one.heard[at - 1]?.seq;

one.say("please\nmodel: hang");
at = await one.until((message) => message.type === "sdk_message" && message.data.type === "stream_event", at);
one.send({ type: "interrupt" });
at = await one.until((message) => isResult(message) || message.type === "error", at);
one.close();

const back = new Client(`?after=${last}`);
await back.until((message) => isResult(message) || message.type === "error");
back.say("and now?");
await back.until((message) => isResult(message) && (message.seq ?? 0) > (one.heard[at - 1]?.seq ?? 0));

console.log(JSON.stringify({ configured, shown, one: one.heard, other: other.heard, back: back.heard }));
process.exit(0);
