// Has an agent work on a repository, and is that agent to whoever runs it: its output, its exit code.
//
//   REPO_URL=https://github.com/owner/name node ci-fix.ts [PROMPT]
//
// REPO_REF is the branch, tag or commit; SETUP a command that is run before, such as "npm ci"; GITHUB_TOKEN, if the
// repository is private, stays out of command lines, logs and .git/config. PATCH names a file for what was changed.

import { writeFileSync } from "node:fs";
import { bytes } from "./promptd.ts";
import { client, create } from "./sandbox.ts";

const { AGENT = "claude", REPO_URL, REPO_REF, SETUP, GITHUB_TOKEN, PATCH } = process.env;
const [prompt = "The tests of this repository fail. Find out why, and fix it."] = process.argv.slice(2);
if (!REPO_URL) throw new Error("REPO_URL is missing, such as https://github.com/owner/name");

/** Where the agent has none, because it was ended before it could. */
const CODES: { [status: string]: number } = { completed: 0, timed_out: 124, cancelled: 130 };

const machine = await create();
try {
  const promptd = client(machine);
  const { id } = await promptd.create({
    agent: AGENT,
    prompt,
    repo: { url: REPO_URL, ref: REPO_REF, token_env: GITHUB_TOKEN && "GITHUB_TOKEN" },
    setup: SETUP ? [SETUP] : [],
    timeout: 1800,
  });
  let started = false;
  for await (const record of promptd.events(id)) {
    if (record.type === "started") started = true;
    if (record.type === "setup") console.error(`setup ${record.step}/${record.of}: ${record.command}`);
    // What is written before the agent has started is the setup's.
    if (record.type === "stdout") (started ? process.stdout : process.stderr).write(bytes(record));
    if (record.type === "stderr") process.stderr.write(bytes(record));
  }
  const turn = (await promptd.session(id)).turns[0];
  if (turn?.cause) console.error(`${turn.status}: ${turn.cause}`);
  if (PATCH) writeFileSync(PATCH, await promptd.download(id, "patch"));
  process.exitCode = turn?.exit_code ?? CODES[turn?.status ?? ""] ?? 1;
} finally {
  await machine.sandbox.kill();
}
