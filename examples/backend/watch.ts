// A reader that misses nothing and sees nothing twice: `node watch.ts SESSION [AFTER]`. Its cursor is the last seq it has.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";

const [session, after = "0"] = process.argv.slice(2);
const backend = process.env.BACKEND ?? "ws://127.0.0.1:4000";

for (let cursor = Number(after); ; await sleep(500)) {
  const socket = new WebSocket(`${backend}/sessions/${session}/live?after=${cursor}`, {
    headers: { authorization: `Bearer ${process.env.READER_TOKEN}` },
  });
  socket.on("message", (line) => {
    console.log(String(line));
    // What is done with a record comes first: a reader that dies in between sees it again, rather than never.
    cursor = JSON.parse(String(line)).seq;
  });
  socket.on("error", (error) => console.error(error.message));
  await once(socket, "close").catch(() => {});
}
