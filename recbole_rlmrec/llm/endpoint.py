"""HTTP to an OpenAI-compatible server: one host, capped answers, every failure sorted into what to do about it."""

from __future__ import annotations

import io
import json
import os
import re
import time
import uuid
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from logging import getLogger
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.faults import (
    FatalError,
    Fault,
    RetryableError,
    UnusableError,
    clean,
    failed_generation,
    sort_error,
)
from recbole_rlmrec.llm.secrets import BearerKey, scrub
from recbole_rlmrec.llm.streaming import MOST_EVENT_BYTES, BrokenStream, is_stream, read_events

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
ANSWER_BYTES = 2 * 1024 * 1024
CONNECT_SECONDS = 10.0
LONGEST_KEY = 8192
AZURE_KEY = "api-key"
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_DEPLOYMENTS = "/openai/deployments/"
_PATHS = ("/chat/completions", "/embeddings", "/models")

logger = getLogger()


def check_base_url(url: str) -> tuple[str, str]:
    """An address without a trailing slash, and the query that goes behind every path: Azure's ``api-version``.

    Raises
    ------
    ConfigError
        Not an http(s) address, or one that carries a password, another query or a fragment; a deployment of Azure without
        its version.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("--base-url needs an address such as http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.fragment or (parts.query and not re.fullmatch(r"api[-_]version=[\w.-]+", parts.query)):
        raise ConfigError(
            "--base-url must hold no user, password, fragment or query but Azure's api-version; a key belongs into an "
            "environment variable that --api-key-env names."
        )
    path = parts.path.rstrip("/")
    for ending in _PATHS:
        path = path.removesuffix(ending)
    if _DEPLOYMENTS in path and not parts.query:
        raise ConfigError(
            "A deployment of Azure needs its version: --base-url https://.../deployments/NAME?api-version=VERSION."
        )
    return f"{parts.scheme}://{parts.netloc}{path}", f"?{parts.query}" if parts.query else ""


def _key_header(base_url: str) -> str:
    """Where a server wants the bare key; empty for ``Authorization``."""
    parts = urlsplit(base_url)
    return AZURE_KEY if _DEPLOYMENTS in parts.path or (parts.hostname or "").endswith(_AZURE_HOSTS) else ""


def retry_after(headers) -> float | None:
    """Seconds that a response's ``Retry-After`` (seconds or HTTP date) or ``retry-after-ms`` asks to wait."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("Retry-After")
    try:
        if milliseconds is not None:
            seconds = float(milliseconds) / 1000
        elif value is None:
            return None
        elif value.strip().replace(".", "", 1).isdigit():
            seconds = float(value)
        else:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
            seconds = (when - datetime.now(timezone.utc)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(seconds, 0.0) if seconds == seconds else None


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


class _Form:
    """A form with one file, read piece by piece while it is sent."""

    def __init__(self, head: bytes, file: BinaryIO, tail: bytes) -> None:
        self._parts = [io.BytesIO(head), file, io.BytesIO(tail)]
        self._length = len(head) + os.fstat(file.fileno()).st_size + len(tail)

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        while self._parts:
            if data := self._parts[0].read(size):
                return data
            self._parts.pop(0)
        return b""


class Endpoint:
    """A server that speaks the OpenAI protocol. Safe to share between threads.

    Parameters
    ----------
    base_url : str
        For example ``http://localhost:8000/v1`` or ``https://NAME.openai.azure.com/openai/deployments/X?api-version=V``.
    key_name : str
        Name of the environment variable with the key; empty for a server that wants none.
    timeout : float
        Seconds that a whole exchange may take.
    connections : int
        How many connections are kept open.
    """

    def __init__(self, base_url: str, key_name: str = "", timeout: float = 120.0, connections: int = 8) -> None:
        self.base_url, self._query = check_base_url(base_url)
        self.host = urlsplit(self.base_url).netloc
        self.timeout = timeout
        self._auth = BearerKey(key_name, _key_header(self.base_url))
        if key_name and self.base_url.startswith("http://") and not _is_local(urlsplit(self.base_url).hostname):
            logger.warning(f"The key in {key_name} goes to {self.host} unencrypted; use https where the server offers it.")
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def describe(self, model: str) -> str:
        """Model, address and key in words, for errors."""
        name = self._auth.name
        key = f"the key in {name}" if name else "the key (none was sent: --api-key-env names the variable with it)"
        return f"the model {model}, the address {self.base_url} and {key}"

    def post(self, path: str, payload: dict, most_bytes: int = ANSWER_BYTES) -> dict:
        """Send ``payload`` as JSON and return the JSON object that comes back.

        Raises
        ------
        RetryableError, RefusedError, FatalError
            See the classes.
        """
        data = json.dumps(payload, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        return self._json("POST", path, most_bytes, data=data, headers=headers)

    def get(self, path: str, most_bytes: int = ANSWER_BYTES) -> dict:
        """Fetch a JSON object; raises like :meth:`post`."""
        return self._json("GET", path, most_bytes)

    def upload(self, path: str, file: Path, purpose: str) -> dict:
        """Send a file as a form and return the JSON object that comes back; raises like :meth:`post`."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n',
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n",
        ]
        with open(file, "rb") as stream:
            form = _Form("".join(parts).encode(), stream, f"\r\n--{boundary}--\r\n".encode())
            headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
            return self._json("POST", path, ANSWER_BYTES, data=form, headers=headers)

    def download(self, path: str, target: Path) -> None:
        """Write what a GET brings to ``target``, whatever its size, without keys; raises like :meth:`post`."""
        response, held = self._send("GET", path), ""
        with response, open(target, "wb") as stream:
            for chunk in self._chunks(response, time.monotonic() + 30 * self.timeout):
                held = scrub(held + chunk.decode("latin-1"))
                stream.write(held[:-LONGEST_KEY].encode("latin-1"))
                held = held[-LONGEST_KEY:]
            stream.write(held.encode("latin-1"))

    def _json(self, method: str, path: str, most_bytes: int, **request) -> dict:
        with self._send(method, path, **request) as response:
            kind = response.headers.get("Content-Type", "")
            most_bytes = MOST_EVENT_BYTES if is_stream(kind, b"") else most_bytes
            body = self._read(response, time.monotonic() + self.timeout, most_bytes)
        answer = self._parsed(kind, body)
        error = answer.get("error")
        if error and "choices" not in answer and "data" not in answer and "id" not in answer:
            code = str(error.get("code") or "") if isinstance(error, dict) else ""
            raise sort_error(int(code) if code.isdigit() and len(code) == 3 else 500, answer, self.host, self._auth.name)
        return answer

    def _parsed(self, kind: str, body: bytes) -> dict:
        """The JSON object in a response, or the one that its events spell out."""
        try:
            text = scrub(body.decode())
            answer = read_events(text) if is_stream(kind, body) else parse_json(text)
        except BrokenStream as reason:
            raise RetryableError(f"{self.host} streamed an answer that cannot be read: {reason}.") from None
        except (ValueError, RecursionError):
            raise RetryableError(f"{self.host} answered something that is not JSON.") from None
        if not isinstance(answer, dict):
            raise RetryableError(f"{self.host} answered JSON that is not an object.")
        return answer

    def _send(self, method: str, path: str, **request) -> requests.Response:
        try:
            response = self._session.request(
                method,
                self._address(path),
                auth=self._auth,
                timeout=(min(CONNECT_SECONDS, self.timeout), self.timeout),
                allow_redirects=False,
                stream=True,
                **request,
            )
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        if 200 <= response.status_code < 300:
            return response
        with response:
            self._fail(response)

    def _address(self, path: str) -> str:
        path, asked, query = path.partition("?")
        more = f"&{query}" if asked and self._query else asked + query
        return f"{self.base_url}/{path}{self._query}{more}"

    def _fail(self, response: requests.Response) -> None:
        status = response.status_code
        if 300 <= status < 400:
            raise FatalError(
                f"{self.host} redirects to {clean(response.headers.get('Location', 'nowhere'), 200)}. Redirects are "
                "not followed, because the key would go along: give the final address as --base-url."
            )
        body = self._read(response, time.monotonic() + self.timeout, ANSWER_BYTES)
        text = scrub(body.decode(errors="replace"))
        try:
            answer = parse_json(text)
        except (ValueError, RecursionError):
            answer = None
        answer = answer[0] if isinstance(answer, list) and answer else answer
        answer = answer if isinstance(answer, dict) else {"error": text}
        if (written := failed_generation(answer)) is not None:
            raise UnusableError(f"{self.host} answered {status}: what the model wrote is not as asked.", written)
        raise sort_error(status, answer, self.host, self._auth.name, retry_after(response.headers))

    def _read(self, response: requests.Response, deadline: float, most_bytes: int) -> bytes:
        body = bytearray()
        for chunk in self._chunks(response, deadline):
            body += chunk
            if len(body) > most_bytes:
                raise RetryableError(f"{self.host} answered more than {most_bytes:,} bytes.")
        return bytes(body)

    def _chunks(self, response: requests.Response, deadline: float):
        read = getattr(response.raw, "read1", response.raw.read)
        try:
            while chunk := read(16384, decode_content=True):
                yield chunk
                if time.monotonic() > deadline:
                    raise RetryableError(f"{self.host} did not finish its answer within {self.timeout:g} s.")
        except HTTPError as error:
            how = "did not finish" if isinstance(error, ReadTimeoutError) else "broke off"
            raise RetryableError(f"{self.host} {how} its answer.") from None

    def _unreachable(self, error: requests.RequestException) -> Fault:
        if isinstance(error, requests.Timeout):
            return RetryableError(f"{self.host} did not answer within {self.timeout:g} s.", away=True)
        cause = getattr(error.args[0], "reason", error) if error.args else error
        said = f"{self.host} cannot be reached: {clean(str(cause).rpartition('): ')[2])}"
        if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.InvalidURL)):
            return FatalError(said)
        return RetryableError(said, away=True)
