"""A server on 127.0.0.1 that speaks the OpenAI protocol and can be told to misbehave.

Also a program: ``python tests/support/loopback.py --delay 1`` prints its address and serves until it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.parser import BytesParser
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

OPEN, CLOSE = "<data>", "</data>"
WORDS = "quiet loud early late warm cold plain odd brave sly old new".split()
SERVER_FAULTS = ("429", "429-after", "429-date", "500", "502", "503", "hang", "drip", "reset", "truncated", "malformed")
SHAPE_FAULTS = ("schema", "empty", "huge")
ANSWER_FAULTS = ("none", "long", "nokey", "prose", "cut", "echo")
HARMLESS = ("gzip", "fence", "commas", "around", "think")


def digest(messages: list[dict]) -> str:
    """Identifies a question: its system prompt and first user message."""
    asked = "".join(message["content"] for message in messages[:2] if message["role"] != "assistant")
    return hashlib.sha256(asked.encode()).hexdigest()


def profile_of(messages: list[dict]) -> str:
    """The answer to a question; the same for the same question."""
    numbers = random.Random(digest(messages))
    return "Enjoys " + " ".join(numbers.choice(WORDS) for _ in range(12)) + " " + digest(messages)[:8]


class Loopback:
    """The server; use it in a ``with`` statement.

    ``answer`` gives a chat request another answer, (status, JSON or bytes, headers) by its number and payload; ``after`` is
    told when that has been written; ``fail`` does so for any request, by method and path.

    Parameters
    ----------
    fault : callable, optional
        From the number of a request (0, 1, ...) and its payload to the name of a fault, or None.
    delay : float
        Seconds before an answer.
    """

    def __init__(self, fault: Callable[[int, dict], str | None] | None = None, delay: float = 0.0, hang: float = 5.0):
        self.fault = fault or (lambda number, payload: None)
        self.delay = delay
        self.hang = hang
        self.lock = threading.Lock()
        self.requests = 0
        self.connections = 0
        self.in_flight = self.most_in_flight = 0
        self.authorizations: set[str | None] = set()
        self.payloads: list[dict] = []
        self.delivered: list[tuple[str, float]] = []
        self.faults: Counter = Counter()
        self.models = {"test-model"}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.batch_answer: Callable[[str, dict], dict | None] = batch_line
        self.batch_status = "completed"
        self.answer_status: tuple[int, dict] | None = None
        self.refuse: Callable[[dict], str | None] = lambda payload: None
        self.redirect_to = "http://127.0.0.1:9/v1"
        self.keep_payloads = True
        self.answer: Callable[[int, dict], tuple | None] = lambda number, payload: None
        self.after: Callable[[int, dict], None] = lambda number, payload: None
        self.fail: Callable[[str, str], tuple | None] = lambda method, path: None
        self.root = "/v1"
        self.paths: Counter = Counter()
        self.headers: list[dict[str, str]] = []
        self.sockets: set = set()
        self._port = 0

    def __enter__(self) -> Loopback:
        self.up()
        return self

    def __exit__(self, *exception) -> None:
        self.down()

    def up(self) -> None:
        """Serve, at the same address as before."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", self._port), type("Handler", (_Handler,), {"loopback": self}))
        self._port = self._server.server_address[1]
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Be gone: nobody listens, and open connections break off."""
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            gone, self.sockets = self.sockets, set()
        for connection in gone:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """What goes to ``--base-url``."""
        return f"http://127.0.0.1:{self._port}{self.root}"

    def questions(self) -> Counter:
        """How often each question was answered in full."""
        return Counter(name for name, _ in self.delivered)


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *arguments) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        with self.loopback.lock:
            self.loopback.connections += 1
            self.loopback.sockets.add(self.connection)

    def finish(self) -> None:
        with self.loopback.lock:
            self.loopback.sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self._route(None)

    def do_POST(self) -> None:
        self._route(self.rfile.read(int(self.headers["Content-Length"])))

    def _route(self, body: bytes | None) -> None:
        server = self.loopback
        with server.lock:
            server.authorizations.add(self.headers.get("Authorization"))
            server.paths[self.path] += 1
            server.headers.append(dict(self.headers))
            del server.headers[:-100]
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            path = self.path.removeprefix(server.root)
            if failure := server.fail(self.command, path):
                self._json(*failure)
            elif path.partition("?")[0] == "/chat/completions":
                self._chat(json.loads(body))
            elif path == "/embeddings":
                self._embed(json.loads(body))
            else:
                self._batch_api(path, body)
        finally:
            with server.lock:
                server.in_flight -= 1

    def _chat(self, payload: dict) -> None:
        server = self.loopback
        with server.lock:
            number = server.requests
            server.requests += 1
            if server.keep_payloads:
                server.payloads.append(payload)
            fault = server.fault(number, payload)
            server.faults[fault] += 1
        if server.delay:
            time.sleep(server.delay)
        if (made := server.answer(number, payload)) is not None:
            status, content, *headers = made
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self._bytes(status, body, headers[0] if headers else None)
            return server.after(number, payload)
        if server.answer_status is not None:
            return self._json(*server.answer_status)
        if said := server.refuse(payload):
            return self._json(400, {"error": {"message": said}})
        if fault in SERVER_FAULTS or fault in SHAPE_FAULTS or fault in ("redirect", "401"):
            return self._misbehave(fault)
        self._json(200, completion(payload, fault), zipped=fault == "gzip")
        if fault not in ANSWER_FAULTS:
            with server.lock:
                server.delivered.append((digest(payload["messages"]), time.time()))

    def _misbehave(self, fault: str) -> None:
        if fault == "hang":
            time.sleep(self.loopback.hang)
            self.close_connection = True
        elif fault == "drip":
            self._drip()
        elif fault in ("reset", "truncated"):
            self._head(200, 5000)
            self.wfile.write(b'{"choices": [')
            self.wfile.flush()
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "malformed":
            self._bytes(200, b'{"choices": [{"message"')
        elif fault == "schema":
            self._json(200, {"choices": [{"text": "old style"}]})
        elif fault == "empty":
            self._json(200, {"id": "x", "choices": []})
        elif fault == "huge":
            self._bytes(200, json.dumps({"choices": [{"message": {"content": "x" * 10_000_000}}]}).encode())
        elif fault == "redirect":
            self._bytes(307, b"", {"Location": f"{self.loopback.redirect_to}/chat/completions"})
        elif fault == "429-after":
            self._json(429, {"error": {"message": "slow down"}}, headers={"Retry-After": "0.05"})
        elif fault == "429-date":
            when = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)
            self._json(429, {"error": {"message": "slow down"}}, headers={"Retry-After": when})
        else:
            self._json(int(fault), {"error": {"message": f"fault {fault}"}})

    def _drip(self) -> None:
        self._head(200, 4000)
        end = time.time() + self.loopback.hang
        while time.time() < end:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.02)
        self.close_connection = True

    def _embed(self, payload: dict) -> None:
        server = self.loopback
        with server.lock:
            number = server.requests
            server.requests += 1
            server.payloads.append(payload)
            fault = server.fault(number, payload)
        if fault in SERVER_FAULTS:
            return self._misbehave(fault)
        texts = payload["input"]
        data = [{"index": i, "embedding": vector(text, payload.get("dimensions", 8))} for i, text in enumerate(texts)]
        random.Random(number).shuffle(data)
        if fault == "schema":
            data = data[1:]
        self._json(200, {"data": data, "model": payload["model"], "usage": {"prompt_tokens": len(texts)}})

    def _batch_api(self, path: str, body: bytes | None) -> None:
        server = self.loopback
        parts = path.strip("/").split("/")
        if path == "/files":
            form = BytesParser().parsebytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
            name = f"file-{len(server.files)}"
            server.files[name] = form.get_payload()[1].get_payload(decode=True)
            self._json(200, {"id": name, "object": "file"})
        elif path == "/batches":
            wanted = json.loads(body)
            name = f"batch_{len(server.batches)}"
            server.batches[name] = {"id": name, "status": "in_progress", **wanted}
            self._json(200, server.batches[name])
        elif path.startswith("/batches?"):
            self._json(200, {"data": list(server.batches.values())})
        elif parts[0] == "batches":
            self._json(200, server.batches[parts[1]])
        elif parts[0] == "files":
            self._bytes(200, server.files[parts[1]])
        else:
            self._json(404, {"error": {"message": "no such thing"}})

    def _json(self, status: int, content: dict, zipped: bool = False, headers: dict | None = None) -> None:
        body = json.dumps(content).encode()
        headers = dict(headers or {})
        if zipped:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        self._bytes(status, body, headers)

    def _bytes(self, status: int, body: bytes, headers: dict | None = None) -> None:
        self._head(status, len(body), headers)
        self.wfile.write(body)
        self.wfile.flush()

    def _head(self, status: int, length: int, headers: dict | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


def completion(payload: dict, fault: str | None = None) -> dict:
    """A chat completion for the payload, with an answer fault or a harmless oddity if one is named."""
    messages = payload["messages"]
    answer = {"summarization": profile_of(messages), "reasoning": "The data say so."}
    text = json.dumps(answer)
    finish = "stop"
    if fault == "fence":
        text = f"```json\n{text}\n```"
    elif fault == "commas":
        text = text[:-1] + ",\n}"
    elif fault == "around":
        text = f"Sure! Here it is: {text} I hope this helps {{really}}."
    elif fault == "think":
        text = f'<think>Maybe {{"summarization": "no"}}?</think>{text}'
    elif fault == "none":
        text = json.dumps({**answer, "summarization": "None"})
    elif fault == "long":
        text = json.dumps({**answer, "summarization": "word " * 400})
    elif fault == "nokey":
        text = json.dumps({"reasoning": "none"})
    elif fault == "prose":
        text = "This film is for everyone."
    elif fault == "echo":
        text = json.dumps({**answer, "summarization": messages[0]["content"][:300]})
    elif fault == "cut":
        text, finish = text[: len(text) // 2], "length"
    usage = {"prompt_tokens": sum(len(m["content"]) for m in messages) // 4, "completion_tokens": len(text) // 4}
    return {"id": "x", "choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": usage}


def batch_line(custom_id: str, body: dict) -> dict:
    """Line of an output file."""
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": completion(body)}, "error": None}


def vector(text: str, width: int) -> list[float]:
    """An embedding; the same for the same text."""
    numbers = random.Random(text)
    return [numbers.gauss(0, 1) for _ in range(width)]


def run_batches(server: Loopback, status: str = "completed") -> None:
    """Let the open batches of the server end: answers by ``server.batch_answer``, None for a question it never reached."""
    for name, batch in server.batches.items():
        if batch["status"] != "in_progress":
            continue
        lines = [json.loads(line) for line in server.files[batch["input_file_id"]].splitlines()]
        answers = [(line["custom_id"], server.batch_answer(line["custom_id"], line["body"])) for line in lines]
        done = [answer for _, answer in answers if answer is not None]
        lost = [expired(number) for number, answer in answers if answer is None]
        for kind, content in (("output", done), ("error", lost)):
            if content:
                server.files[f"{name}-{kind}"] = b"".join(json.dumps(line).encode() + b"\n" for line in content)
                batch[f"{kind}_file_id"] = f"{name}-{kind}"
        batch["status"] = status
        batch["request_counts"] = {"total": len(lines), "completed": len(done), "failed": len(lost)}


def expired(custom_id: str) -> dict:
    """Line of an error file for a question that an expired batch never reached."""
    return {"custom_id": custom_id, "response": None, "error": {"code": "batch_expired", "message": "too late"}}


def seeded_faults(seed: int, share: float, names: tuple[str, ...]) -> Callable[[int, dict], str | None]:
    """A plan in which a share of the requests gets one of the faults, by the number of the request."""

    def plan(number: int, payload: dict) -> str | None:
        numbers = random.Random(f"{seed} {number}")
        return numbers.choice(names) if numbers.random() < share else None

    return plan


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=1.0)
    with Loopback(delay=parser.parse_args().delay) as loopback:
        loopback.keep_payloads = False
        print(loopback.url, flush=True)
        threading.Event().wait()
