// A reader that misses nothing and sees nothing twice: `node watch.ts SESSION [AFTER]`. Its cursor is the last line it has.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";

const [session, after = "0"] = process.argv.slice(2);
let cursor = after;
// Lines of one record share its seq.
let [seq, index] = [Number(after.split(":")[0]), Number(after.split(":")[1] ?? -1)];
const backend = process.env.BACKEND ?? "ws://127.0.0.1:4000";

for (; ; await sleep(500)) {
  const socket = new WebSocket(`${backend}/sessions/${session}/live?after=${cursor}`, {
    headers: { authorization: `Bearer ${process.env.READER_TOKEN}` },
  });
  socket.on("message", (line) => {
    console.log(String(line));
    // What is done with a record comes first: a reader that dies in between sees it again, rather than never.
    const next: number = JSON.parse(String(line)).seq;
    [seq, index] = [next, next === seq ? index + 1 : 0];
    cursor = `${seq}:${index}`;
  });
  socket.on("error", (error) => console.error(error.message));
  await once(socket, "close").catch(() => {});
}
