// A client of promptd: requests that survive the platform's waking up, and a stream that goes on where it broke off.

import { setTimeout as sleep } from "node:timers/promises";

/** Where a promptd is, and what opens it. */
export type Address = { url: string; token?: string; headers?: Record<string, string> };

export type Output = { data?: string; base64?: string; eol?: boolean; to: number; late?: boolean };
/** A record of the journal. There are more types than these: pass over what you do not know. */
export type JournalRecord = { seq: number; time: string; turn: number } & (
  | { type: "prompt"; text: string }
  | { type: "setup"; step: number; of: number; command: string }
  | { type: "started"; pid: number; program: string; attempt: number }
  | ({ type: "stdout" | "stderr" } & Output)
  | { type: "exited"; code?: number; signal?: string; duration: number }
  | { type: "turn_ended"; status: Status; cause?: string; result?: string }
  | { type: "resumed"; epoch: string; away: number }
  | { type: "gap"; stream?: string; bytes: number; reason: string }
);
export type Status =
  | "idle" | "queued" | "running" | "waiting" | "completed" | "failed" | "cancelled" | "timed_out" | "lost";
export type Turn = { turn: number; status: Status; cause?: string; exit_code?: number; result?: string };
export type Session = { id: string; agent: string; status: Status; last_seq: number; cwd: string; turns: Turn[] };
export type SessionRequest = {
  id?: string;
  agent?: string;
  prompt?: string;
  env?: { [name: string]: string };
  timeout?: number;
  repo?: { url: string; ref?: string; dir?: string; token_env?: string };
  setup?: string[];
};
export type ChangedFile = { path: string; status: string; from?: string | null; size?: number | null };
/** `diff` is for people, and there only in a git repository. */
export type Artifacts = { cwd: string; base?: string | null; files: ChangedFile[]; diff?: string | null };

/** promptd said no. What the platform's proxies say never becomes one of these. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(`${status} ${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

/** How long a sandbox may take to wake up before a request is given up. */
const PATIENCE = 60_000;
/** How long an answer may take to begin; promptd's begin at once. */
const ANSWER = 30_000;
/** promptd writes a comment every 15 s: a stream that is silent for longer than this is dead. */
const SILENCE = 45_000;

export class Promptd {
  readonly #address: Address;
  readonly #signal: AbortSignal | undefined;

  /** With a signal, everything that is under way ends when it does. */
  constructor(address: Address, signal?: AbortSignal) {
    this.#address = address;
    this.#signal = signal;
  }

  /** Creates a session; with a prompt, its first turn begins. A request that is sent twice starts one agent. */
  async create(request: SessionRequest): Promise<Session> {
    const whole = { id: crypto.randomUUID(), ...request };
    return (await (await this.#call("POST", "/v1/sessions", whole)).json()) as Session;
  }

  /** The next turn; answers its number. */
  async prompt(id: string, prompt: string): Promise<number> {
    const answer = await this.#call("POST", `/v1/sessions/${id}/prompts`, { prompt });
    return ((await answer.json()) as { turn: number }).turn;
  }

  async session(id: string): Promise<Session> {
    return (await (await this.#call("GET", `/v1/sessions/${id}`)).json()) as Session;
  }

  /** What the turns changed in the working directory. */
  async artifacts(id: string): Promise<Artifacts> {
    return (await (await this.#call("GET", `/v1/sessions/${id}/artifacts`)).json()) as Artifacts;
  }

  /** The changed files themselves, as a tar.gz; or what changed in a git repository, for `git apply`. */
  async download(id: string, format: "tar.gz" | "patch"): Promise<Uint8Array> {
    const answer = await this.#call("GET", `/v1/sessions/${id}/artifacts?format=${format}`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /**
   * The records after `after`, as they are written, until no turn runs any more. Whatever happens to the connection,
   * each comes once and in order. Leave the loop whenever you like; what you keep is the last `seq`.
   */
  async *events(id: string, after = 0): AsyncGenerator<JournalRecord> {
    for (;;) {
      const connection = new AbortController();
      const path = `/v1/sessions/${id}/events?after=${after}`;
      const answer = await this.#call("GET", path, undefined, { accept: "text/event-stream" }, connection);
      const silence = setTimeout(() => connection.abort(), SILENCE);
      try {
        for await (const event of eventsOf(answer, () => silence.refresh())) {
          if (event.type === "end") return;
          const record = JSON.parse(event.data) as JournalRecord;
          after = record.seq;
          yield record;
        }
      } catch (error) {
        if (this.#signal?.aborted || error instanceof SyntaxError) throw error;
      } finally {
        clearTimeout(silence);
        connection.abort();
      }
      await sleep(250, undefined, { signal: this.#signal });
    }
  }

  async #call(
    method: string,
    path: string,
    body?: object,
    headers: { [name: string]: string } = {},
    connection?: AbortController,
  ): Promise<Response> {
    const { url, token, headers: route } = this.#address;
    const init = {
      method,
      headers: {
        ...route,
        ...headers,
        ...(token && { authorization: `Bearer ${token}` }),
        // The same at every try, so that what arrives twice is done once.
        ...(body && { "content-type": "application/json", "idempotency-key": crypto.randomUUID() }),
      },
      body: body && JSON.stringify(body),
    };
    const deadline = Date.now() + PATIENCE;
    for (let delay = 100; ; delay = Math.min(2 * delay, 3000)) {
      let wrong: unknown;
      const slow = new AbortController();
      const timer = setTimeout(() => slow.abort(), ANSWER);
      const signals = [this.#signal, connection?.signal, slow.signal].filter((signal) => signal !== undefined);
      try {
        const answer = await fetch(url + path, { ...init, signal: AbortSignal.any(signals) });
        if (answer.ok) return answer;
        wrong = await refusal(answer);
      } catch (error) {
        if (this.#signal?.aborted) throw error;
        wrong = error;
      } finally {
        clearTimeout(timer);
      }
      // Only what may be otherwise in a moment: no connection, the platform's proxies, a promptd that is restarted.
      if ((wrong instanceof Refused && wrong.status !== 503) || Date.now() > deadline) throw wrong;
      await sleep(delay * (0.5 + Math.random()), undefined, { signal: this.#signal });
    }
  }
}

/** promptd has its version on every answer. What has none is from a proxy, which had no sandbox or no open port. */
async function refusal(answer: Response): Promise<Error> {
  const text = await answer.text();
  const platform = new Error(`${answer.status} from the platform: ${text.slice(0, 200)}`);
  if (!answer.headers.has("promptd-version")) return platform;
  const { code = "unknown", detail = text } = JSON.parse(text || "{}") as { code?: string; detail?: string };
  return new Refused(answer.status, code, detail);
}

/** Server-sent events. A stream that breaks off throws or ends: what is incomplete then is not an event. */
async function* eventsOf(answer: Response, heard: () => void): AsyncGenerator<{ type: string; data: string }> {
  let buffer = "";
  for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
    heard();
    buffer += chunk;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop()!;
    for (const block of blocks) {
      const field = (name: string) =>
        block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const [type, data] = [field("event"), field("data")];
      if (type !== undefined) yield { type, data: data ?? "" };
    }
  }
}

/** The bytes of an output record. */
export function bytes(output: Output): Buffer {
  const text = output.base64 === undefined ? Buffer.from(output.data ?? "") : Buffer.from(output.base64, "base64");
  return output.eol === false ? text : Buffer.concat([text, Buffer.from("\n")]);
}
