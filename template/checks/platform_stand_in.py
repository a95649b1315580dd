"""A stand-in for the platform's API of template builds, which keeps what it is asked for."""

import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEMPLATE = "tpl0123456789"
BUILD = "00000000-0000-4000-8000-000000000001"


class Platform:
    """Serves on loopback; `take()` hands over what one build asked for."""

    def __init__(self):
        self.asked = {"uploads": {}}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self):
        asked, self.asked = self.asked, {"uploads": {}}
        return asked


def handler(platform):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.body())
            if self.path == "/v3/templates":
                platform.asked["template"] = body
                name = body["name"]
                names = {"names": [name], "aliases": [name], "tags": []}
                self.answer(202, {"templateID": TEMPLATE, "buildID": BUILD, "public": False, **names})
            elif self.path == f"/v2/templates/{TEMPLATE}/builds/{BUILD}":
                platform.asked["build"] = body
                self.answer(202, None)
            else:
                self.answer(404, {"code": 404, "message": f"no route {self.path}"})

        def do_GET(self):
            path = self.path.split("?")[0]
            if path.startswith(f"/templates/{TEMPLATE}/files/"):
                url = f"{platform.url}/upload/{path.rsplit('/', 1)[-1]}"
                self.answer(201, {"present": False, "url": url})
            elif path == f"/templates/{TEMPLATE}/builds/{BUILD}/status":
                ids = {"templateID": TEMPLATE, "buildID": BUILD}
                self.answer(200, {**ids, "status": "ready", "logs": [], "logEntries": []})
            else:
                self.answer(404, {"code": 404, "message": f"no route {path}"})

        def do_PUT(self):
            with tarfile.open(fileobj=io.BytesIO(self.body())) as archive:
                members = {entry.name: (entry.isdir(), entry.mode & 0o7777) for entry in archive}
            platform.asked["uploads"][self.path.rsplit("/", 1)[-1]] = members
            self.answer(200, None)

        def body(self):
            if self.headers["Transfer-Encoding"] != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def answer(self, status, value):
            text = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler
