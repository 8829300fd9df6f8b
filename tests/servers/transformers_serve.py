"""``recbole-rlmrec profile`` against ``transformers serve`` with a tiny model that is made on the spot, outside the test suite.

    pip install 'transformers[serving]'
    python tests/servers/transformers_serve.py --transformers /path/to/bin/transformers

The model has random weights and writes nonsense; so what is shown is that requests, streams and refusals are understood, that
nonsense is listed as such, and that what it cost is counted.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import failures, free_port, manifest, profile, say, started, write_data

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }} {% endfor %}"
)
WORDS = 'you are given a film describe which viewers would enjoy it data json { } " : , summarization reasoning title'.split()


def make_model(path: Path, template: str) -> None:
    """A Llama of one layer with random weights and a vocabulary of a few words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = template
    fast.save_pretrained(path)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), max_position_embeddings=4096, eos_token_id=1, bos_token_id=None, **size
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transformers", default="transformers", help="the command")
    command = parser.parse_args().transformers
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        write_data(folder, 4, 5, 5)
        make_model(folder / "plain", TEMPLATE.replace("{{ raise_exception('System role not supported') }}", "[system]"))
        make_model(folder / "no-system", TEMPLATE)
        url = f"http://127.0.0.1:{port}/v1"
        line = [command, "serve", "--port", str(port), "--host", "127.0.0.1"]
        server = started(line, folder, f"{url}/models", HF_HUB_OFFLINE="1")
        common = ("--base-url", url, "--concurrency", "2", "--max-answer-tokens", "24", "--timeout", "60")
        common += ("--max-attempts", "2")
        try:
            for model, fields in (("plain", ()), ("no-system", ()), ("plain", ("--request-field", "stream=true"))):
                tag = f"{model}{'-stream' if fields else ''}"
                options = ("--tag", tag, "--chat-model", str(folder / model), *common, "--patience", "1", *fields)
                status, said = profile(folder, *options, HF_HUB_OFFLINE="1")
                say(f"{model} {' '.join(fields)}".strip(), status, said, 4)
                listed, found = failures(folder, tag), manifest(folder, tag)
                assert {entry["kind"] for entry in listed} == {"answer"} and len(listed) + found["items"] + found["users"] == 9
                used = next(iter(found["usage"].values()))
                assert used["requests"] >= 2 * len(listed) and used["completion_tokens"] > 0, used
            gone = ("--tag", "none", "--chat-model", str(folder / "nowhere"), "--patience", "0.2")
            status, said = profile(folder, *gone, *common)
            say("a model that is not there", status, said, 4)
            assert status == 2 and not failures(folder, "none")
        finally:
            server.kill()
            server.wait()
    print("All as it should be.")


if __name__ == "__main__":
    main()
