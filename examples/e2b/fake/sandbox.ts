// A sandbox of the stand-in: a promptd with a home of its own, and everything that it started.

import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export class Sandbox {
  readonly id: string;
  readonly home: string;
  readonly accessToken = randomBytes(16).toString("hex");
  /** Where the sandbox is not public: what every request to one of its ports has to have. */
  trafficAccessToken: string | undefined;
  /** What `Sandbox.create({envs})` gave: commands have it, the server that the template started has not. */
  readonly envs: Record<string, string>;
  readonly port: number;
  /** Connections into the sandbox, which do not survive a pause. */
  readonly connections = new Set<Socket>();
  paused = false;
  justCreated = true;
  justResumed = false;
  #server: ChildProcess;

  private constructor(id: string, home: string, envs: Record<string, string>, port: number, server: ChildProcess) {
    this.id = id;
    this.home = home;
    this.envs = envs;
    this.port = port;
    this.#server = server;
  }

  static async start(id: string, promptd: string, folder: string, envs: Record<string, string>): Promise<Sandbox> {
    const home = join(folder, id);
    mkdirSync(join(home, "bin"), { recursive: true });
    symlinkSync(promptd, join(home, "bin/promptd"));
    const port = await freePort();
    const env = { ...environment(home), PROMPTD_LISTEN: `0.0.0.0:${port}`, PROMPTD_AUTH: "token" };
    const server = spawn(promptd, ["serve"], { cwd: home, env, stdio: ["ignore", "ignore", "inherit"] });
    const sandbox = new Sandbox(id, home, envs, port, server);
    for (;;) {
      const healthy = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
      if (healthy?.ok) return sandbox;
      if (server.exitCode !== null) throw new Error(`promptd ended with ${server.exitCode}`);
      await sleep(20);
    }
  }

  /** Freezes every process, and drops the connections: the sandbox does not hear of it. */
  pause(): void {
    this.paused = true;
    this.#signal("SIGSTOP");
    for (const connection of this.connections) connection.destroy();
  }

  resume(): void {
    this.#signal("SIGCONT");
    this.paused = false;
    this.justResumed = true;
  }

  kill(): void {
    this.#signal("SIGSTOP");
    this.#signal("SIGKILL");
    for (const connection of this.connections) connection.destroy();
  }

  /** Looks until there is nobody new, because who is not yet stopped may still fork. */
  #signal(signal: NodeJS.Signals): void {
    const done = new Set<number>();
    for (let before = -1; before < done.size; ) {
      before = done.size;
      for (const pid of this.#processes()) {
        if (done.has(pid)) continue;
        done.add(pid);
        try {
          process.kill(pid, signal);
        } catch {
          // It has gone by itself.
        }
      }
    }
  }

  /** The server, its descendants, and who is known by its command line or environment to belong here. */
  #processes(): number[] {
    const found = new Set<number>(this.#server.exitCode === null ? [this.#server.pid!] : []);
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
    for (let before = 0; before < found.size; ) {
      before = found.size;
      for (const pid of pids) {
        const parent = Number(read(`/proc/${pid}/stat`).split(")").at(-1)?.split(" ")[2]);
        const words = `${read(`/proc/${pid}/cmdline`)}\0${read(`/proc/${pid}/environ`)}`;
        if (found.has(parent) || words.includes(`${this.home}/.promptd/`)) found.add(pid);
      }
    }
    found.delete(process.pid);
    return [...found];
  }
}

/** What everything in the sandbox has. */
export function environment(home: string): Record<string, string> {
  const path = `${join(home, "bin")}:${process.env.PATH}`;
  return { PATH: path, HOME: home, USER: "user", LOGNAME: "user", E2B_SANDBOX: "true" };
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
