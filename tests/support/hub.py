"""A Hugging Face hub on 127.0.0.1, as far as huggingface_hub needs one to make a repository, commit, list and download."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"


class Hub:
    """The server; use it in a ``with`` statement.

    Attributes
    ----------
    files : dict of (str, str) to dict of str to bytes
        What repositories hold, by kind and name.
    requests : list of (str, str)
        Method and path of each request.
    made : list of dict
        What was asked when repositories were made.
    """

    def __init__(self):
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.made: list[dict] = []

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            found = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def use(hub: Hub, monkeypatch, token: str | None = TOKEN):
    """Let huggingface_hub, whose settings are read when it is imported, talk to a hub."""
    from huggingface_hub import constants

    with monkeypatch.context() as patched:
        patched.setattr(constants, "HF_HUB_OFFLINE", False)
        patched.setattr(constants, "ENDPOINT", hub.url)
        patched.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        patched.setenv("NO_PROXY", "127.0.0.1")
        if token is None:
            patched.delenv("HF_TOKEN", raising=False)
        else:
            patched.setenv("HF_TOKEN", token)
        yield


class _Handler(BaseHTTPRequestHandler):
    found: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, value, status: int = 200, headers: dict | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):  # noqa: N802
        path, body = urlsplit(self.path).path, self._body()
        self.found.requests.append(("POST", path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "no"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.found.made.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            self.found.files.setdefault((asked.get("type", "model"), name), {})
            return self._answer({"url": f"{self.found.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        kind, name, rest = self._repository(path)
        if rest[0] == "preupload":
            asked = json.loads(body)["files"]
            return self._answer(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
            )
        if rest[0] == "commit":
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.found.files[kind, name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            prefix = "datasets/" if kind == "dataset" else ""
            return self._answer({"commitUrl": f"{self.found.url}/{prefix}{name}/commit/{'1' * 40}", "commitOid": "1" * 40})
        return self._answer({"error": path}, 404)

    def do_GET(self):  # noqa: N802
        path = unquote(urlsplit(self.path).path)
        self.found.requests.append((self.command, path))
        if path.startswith("/api/"):
            kind, name, rest = self._repository(path)
            files = self.found.files.get((kind, name))
            if files is None:
                return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            if rest[0] == "tree":
                return self._answer([{"type": "file", "path": one, "size": len(files[one]), "oid": "2" * 40} for one in files])
            return self._answer({"id": name, "sha": "1" * 40, "siblings": [{"rfilename": one} for one in files]})
        kind = "dataset" if path.startswith("/datasets/") else "model"
        name, _, file = path.removeprefix("/datasets").removeprefix("/").partition("/resolve/")
        content = self.found.files.get((kind, name), {}).get(file.partition("/")[2])
        if content is None:
            return self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "1" * 40}
        return self._answer(content, 200, {**headers, "Content-Type": "application/octet-stream"})

    do_HEAD = do_GET

    def _repository(self, path: str) -> tuple[str, str, list[str]]:
        kind, owner, name, *rest = path.removeprefix("/api/").split("/")
        return kind.removesuffix("s"), f"{owner}/{name}", rest or [""]
