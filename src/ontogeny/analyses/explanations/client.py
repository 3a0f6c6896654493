"""A chat endpoint: paced, repeated where that may help, and never asked the same thing twice."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from ontogeny.analyses.explanations.config import ExplanationsConfig
from ontogeny.errors import AnalysisError
from ontogeny.workspace import disk_errors

REPEATED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Answers after which the same request may succeed."""
LONGEST_WAIT = 60.0
SHOWN = 200
"""Characters of a server's complaint that are quoted."""

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """What the model said, and what it cost in tokens as the endpoint counts them (0 where it doesn't)."""

    text: str
    prompt_tokens: int = 0
    reply_tokens: int = 0


class Answers:
    """Replies on disk, one JSON line each, by a hash of all that was asked; a torn last line is dropped."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        self.known: dict[str, Reply] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            key = entry.pop("key")
            self.known[key] = Reply(**entry)
            whole += len(line)
        with disk_errors(path):
            self.file = path.open("r+b" if path.is_file() else "w+b")
            self.file.truncate(whole)
            self.file.seek(whole)

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply for good."""
        with self.lock, disk_errors(self.path):
            self.known[key] = reply
            self.file.write(json.dumps({"key": key, **asdict(reply)}).encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class ChatClient:
    """Asks the endpoint of a config; AnalysisError, in one sentence, where asking again cannot help."""

    def __init__(self, config: ExplanationsConfig, answers: Answers) -> None:
        self.config, self.answers = config, answers
        self.url = f"{config.base_url}/chat/completions"
        self.http = httpx2.Client(timeout=config.timeout, headers=_key_header(config))
        self.pace, self.next_time = threading.Lock(), 0.0
        self.stopped = threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def ask(self, messages: Messages, attempt: int = 0) -> Reply:
        """The reply to messages; `attempt` tells apart repetitions of one question whose reply could not be used."""
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": list(messages),
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_reply_tokens,
            "seed": self.config.seed + attempt,
        }
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
        known = self.answers.known.get(key)
        if known is not None:
            return known
        reply = self._send(body)
        self.answers.add(key, reply)
        return reply

    def _send(self, body: dict[str, Any]) -> Reply:
        """One request, repeated while that may help."""
        complaint = ""
        for repetition in range(self.config.retries + 1):
            self._wait_for_turn()
            wait = min(self.config.first_wait * 2.0**repetition, LONGEST_WAIT)
            try:
                response = self.http.post(self.url, json=body)
            except httpx2.TimeoutException:
                complaint = f"no reply within {self.config.timeout:g} s"
            except (httpx2.TransportError, httpx2.DecodingError) as error:
                complaint = _one_line(str(error)) or type(error).__name__
            else:
                if response.status_code == 200:
                    reply = read_reply(response)
                    if reply is not None:
                        return reply
                    complaint = f"a reply without choices[0].message.content: {_one_line(response.text)!r}"
                elif response.status_code in REPEATED:
                    complaint = f"{response.status_code} {_one_line(response.text)}"
                    wait = _asked_wait(response, wait)
                else:
                    raise self._refused(response)
            if repetition < self.config.retries and self.stopped.wait(wait):
                break
        times = "once" if self.config.retries == 0 else f"{self.config.retries + 1} times"
        raise AnalysisError(
            f"{self.url} was asked {times} without a usable answer (last: {complaint}); see that it serves "
            f"{self.config.model!r}, then say the same command again: what it answered is kept."
        )

    def _refused(self, response: httpx2.Response) -> AnalysisError:
        cure = {
            401: "name the environment variable with a valid key as analyses.explanations.api_key_env",
            403: "use a key that may use this model",
            404: "check analyses.explanations.base_url (it ends before /chat/completions) and model",
        }.get(response.status_code, "check analyses.explanations.model and the limits of the endpoint")
        return AnalysisError(f"{self.url} answered {response.status_code} {_one_line(response.text)!r}; {cure}.")

    def _wait_for_turn(self) -> None:
        """Keep the pace that was asked for, over all workers."""
        if self.config.requests_per_minute is None:
            return
        with self.pace:
            now = time.monotonic()
            turn = max(self.next_time, now)
            self.next_time = turn + 60.0 / self.config.requests_per_minute
        self.stopped.wait(turn - now)


def read_reply(response: httpx2.Response) -> Reply | None:
    """The reply in a chat completion; None where the body is none."""
    try:
        body = response.json()
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return None
    choice = body["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if text is None and isinstance(message, dict):
        # A model that refuses has answered: asked again it would refuse again, and the other latents must not wait.
        text = message.get("refusal") or ("" if choice.get("finish_reason") == "content_filter" else None)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(text, *(count if isinstance(count, int) else 0 for count in counts)) if isinstance(text, str) else None


def _key_header(config: ExplanationsConfig) -> dict[str, str]:
    if config.api_key_env is None:
        return {}
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise AnalysisError(
            f"analyses.explanations.api_key_env names {config.api_key_env}, which is not set; set that environment "
            "variable to the endpoint's key."
        )
    return {"Authorization": f"Bearer {key}"}


def _asked_wait(response: httpx2.Response, otherwise: float) -> float:
    """Seconds that the endpoint asks to wait, as far as they are sensible."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_WAIT) if asked.replace(".", "", 1).isdigit() else otherwise


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"
