"""``recbole-rlmrec profile`` against LiteLLM's proxy with mock answers, outside the test suite.

    pip install 'litellm[proxy]'          # into an environment of its own
    python tests/servers/litellm_proxy.py --litellm /path/to/that/bin/litellm

Right key and model; wrong key; unknown model; a model that always refuses; rate limits; a proxy that is restarted. Prints
each step and ends with an error where one does not come out as it should.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from common import failures, free_port, manifest, profile, say, started, write_data  # noqa: E402
from loopback import Loopback  # noqa: E402
from servers import refusal  # noqa: E402

KEY = "sk-loopback-0123456789"
ANSWER = json.dumps({"summarization": "Suits those who like winding tales and long evenings.", "reasoning": "The data."})


def model(name: str, **settings) -> dict:
    """An entry of the proxy's configuration."""
    return {"model_name": name, "litellm_params": {"model": "openai/mock", "api_key": "none", **settings}}


def configuration(upstream: str) -> dict:
    """The proxy's configuration, which YAML reads as it reads JSON; two models are behind a server that answers badly."""
    models = [
        model("good", mock_response=ANSWER),
        model("thinks", mock_response=f"I wonder. {ANSWER.replace('Suits', 'Draft: suits')}</think>\n{ANSWER}"),
        model("limited", mock_response=ANSWER, rpm=12),
        model("refuses", api_base=upstream),
        model("overloaded", api_base=upstream, model="openai/overloaded"),
    ]
    return {"model_list": models, "general_settings": {"master_key": KEY}, "litellm_settings": {"num_retries": 0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", default="litellm", help="the proxy's command")
    litellm = parser.parse_args().litellm
    with tempfile.TemporaryDirectory() as name, Loopback() as upstream:
        upstream.answer = lambda number, payload: (
            refusal("overloaded", 503) if payload["model"] == "overloaded" else refusal(f"No, and that is number {number}.")
        )
        folder, port = Path(name), free_port()
        write_data(folder)
        (folder / "config.yaml").write_text(json.dumps(configuration(upstream.url)))
        command = [litellm, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1"]
        url = f"http://127.0.0.1:{port}"
        proxy = started(command, folder, f"{url}/health/liveliness")
        common = ("--base-url", f"{url}/v1", "--api-key-env", "PROXY_KEY", "--concurrency", "4")

        def step(what: str, tag: str, chat: str, *options: str, key: str = KEY) -> tuple[int, str]:
            status, said = profile(folder, "--tag", tag, "--chat-model", chat, *common, *options, PROXY_KEY=key)
            say(what, status, said)
            assert key not in said
            return status, said

        try:
            status, said = step("right key and model", "good", "good")
            assert status == 0 and manifest(folder, "good")["items"] == 16 and manifest(folder, "good")["users"] == 12
            status, said = step("a model that thinks aloud", "thinks", "thinks")
            assert status == 0 and "raft" not in (folder / "dataset/films/semantic/thinks/items.jsonl").read_text()
            for what, chat, key in (("wrong key", "good", "sk-another-0123456789"), ("unknown model", "nobody", KEY)):
                tag = what.replace(" ", "-")
                status, said = step(what, tag, chat, key=key)
                assert status == 2 and not failures(folder, tag) and "PROXY_KEY" in said, said
                assert manifest(folder, tag)["items"] == 0
            status, said = step("a model that refuses everything", "refuses", "refuses")
            assert status == 2 and not failures(folder, "refuses") and url in said
            begun = time.monotonic()
            status, said = step("rate limits of 12 a minute", "limited", "limited", "--patience", "5", "--sample-items", "2")
            assert status == 0 and manifest(folder, "limited")["items"] == 16
            print(f"    28 answers took {time.monotonic() - begun:.0f} s")
            status, said = step("a model that is overloaded", "overloaded", "overloaded", "--patience", "0.2")
            assert status == 2 and "--patience" in said and not failures(folder, "overloaded")

            def restart() -> None:
                nonlocal proxy
                time.sleep(2)
                proxy.kill()
                proxy.wait()
                time.sleep(8)
                proxy = started(command, folder, f"{url}/health/liveliness")

            again = threading.Thread(target=restart)
            again.start()
            status, said = step("the proxy is restarted meanwhile", "restarted", "good", "--rpm", "120", "--patience", "3")
            again.join()
            assert status == 0 and not failures(folder, "restarted") and manifest(folder, "restarted")["users"] == 12
        finally:
            proxy.kill()
            proxy.wait()
    print("All as it should be.")


if __name__ == "__main__":
    main()
