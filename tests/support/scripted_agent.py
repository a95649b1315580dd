"""An agent that speaks ACP and does what the prompt says, word for word, also what no agent should do.

A prompt is a line per step:
  say TEXT      writes a piece of its answer
  ask           asks whether it may run a tool, waits, and says what it was told
  ask-odd       the same, with nothing but "always" to choose from
  ask-back FILE asks, and takes it back when there is such a file
  silent N      is silent for N seconds
  wait FILE     is silent until there is such a file
  hang          is silent until it is cancelled
  deaf          from now on it ignores cancellations and every signal that it can ignore
  garbage       writes what is no message
  exit N        exits with N, in the middle
  linger        will not leave when all is said
  orphan        leaves a process behind in its tree
All that it is told goes to the file `heard` in its working directory, a line per line, with START and EOF.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

heard = open("heard", "a")
incoming = queue.Queue()
state = {"linger": False, "deaf": False, "asked": 0, "cancelled": False}
session = "session-1"


def note(text):
    heard.write(text + "\n")
    heard.flush()


def write(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def listen():
    for line in sys.stdin:
        note(line.rstrip("\n"))
        incoming.put(json.loads(line))
    note("EOF")
    incoming.put(None)


def say(text):
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    write({"method": "session/update", "params": {"sessionId": session, "update": update}})


def hear(timeout=None):
    """The next message; a cancellation is noted and not given."""
    while True:
        message = incoming.get(timeout=timeout)
        if message is None:
            leave()
        if message.get("method") == "session/cancel":
            state["cancelled"] = not state["deaf"]
            return None
        return message


def leave():
    while state["linger"] or state["deaf"]:
        time.sleep(3600)
    sys.exit(0)


def ask(kinds):
    state["asked"] += 1
    id = "ask-%d" % state["asked"]
    options = [{"optionId": kind.replace("_", "-"), "name": kind, "kind": kind} for kind in kinds]
    call = {"toolCallId": "call-%d" % state["asked"], "title": "rm -rf " + os.environ.get("SECRET_KEY", "/"),
            "kind": "execute", "rawInput": {"command": "rm"}}
    write({"id": id, "method": "session/request_permission",
           "params": {"sessionId": session, "toolCall": call, "options": options}})
    while True:
        message = hear()
        if message is not None and message.get("id") == id:
            outcome = message["result"]["outcome"]
            say("told %s. " % outcome.get("optionId", outcome["outcome"]))
            return


def ask_back(file):
    call = {"toolCallId": "back", "title": "never mind"}
    options = [{"optionId": "allow", "name": "allow", "kind": "allow_once"}]
    write({"id": "back", "method": "session/request_permission",
           "params": {"sessionId": session, "toolCall": call, "options": options}})
    while not os.path.exists(file):
        time.sleep(0.01)
    write({"method": "$/cancel_request", "params": {"requestId": "back"}})
    say("refused with %d. " % hear()["error"]["code"])


def step(line):
    word, _, rest = line.partition(" ")
    if word == "say":
        say(rest)
    elif word == "ask":
        ask(["allow_once", "allow_always", "reject_once"])
    elif word == "ask-back":
        ask_back(rest)
    elif word == "ask-odd":
        ask(["allow_always", "allow_always"])
    elif word == "silent":
        time.sleep(float(rest))
    elif word == "wait":
        while not os.path.exists(rest):
            time.sleep(0.01)
    elif word == "hang":
        while not state["cancelled"]:
            hear()
    elif word == "deaf":
        state["deaf"] = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    elif word == "garbage":
        sys.stdout.write("no message\n{\"half\": \n")
        sys.stdout.flush()
    elif word == "exit":
        os._exit(int(rest))
    elif word == "linger":
        state["linger"] = True
    elif word == "orphan":
        subprocess.Popen(["sleep", "1000"])


def prompt(message):
    state["cancelled"] = False
    for line in message["params"]["prompt"][0]["text"].splitlines():
        step(line)
        if state["cancelled"]:
            break
    reason = "cancelled" if state["cancelled"] else "end_turn"
    write({"id": message["id"], "result": {"stopReason": reason}})


def main():
    global session
    note("START")
    threading.Thread(target=listen, daemon=True).start()
    while True:
        message = hear()
        if message is None:
            continue
        method = message.get("method")
        if method == "initialize":
            able = {"loadSession": True}
            write({"id": message["id"], "result": {"protocolVersion": 1, "agentCapabilities": able}})
        elif method == "session/new":
            write({"id": message["id"], "result": {"sessionId": session}})
        elif method == "session/load":
            forgets = "forgets" in sys.argv
            session = "session-2" if forgets else message["params"]["sessionId"]
            write({"id": message["id"], "result": {"sessionId": session} if forgets else {}})
        elif method == "session/prompt":
            prompt(message)


main()
