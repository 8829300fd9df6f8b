"""A chat model on this machine, through transformers."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_rlmrec.errors import ChatError, ConfigError
from recbole_rlmrec.llm.chat import LOCAL_PREFIX, Reply
from recbole_rlmrec.llm.faults import RefusedError


class TransformersChat:
    """A causal language model of the transformers library; one question at a time.

    A server such as vLLM answers many times faster on the same hardware; this needs none.

    Parameters
    ----------
    path : str
        Folder or name of the model. Code that comes with a model is never run.
    temperature : float
        0 takes the likeliest token each time.
    max_tokens : int
        Longest answer.

    Raises
    ------
    ConfigError
        transformers is not installed.
    ChatError
        The model cannot be loaded.
    """

    parallel = False

    def __init__(self, path: str, temperature: float = 0.0, max_tokens: int = 700) -> None:
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise ConfigError("A local chat model needs transformers: pip install transformers.") from None
        import torch

        self.name = LOCAL_PREFIX + path
        self._temperature = temperature
        self._max_tokens = max_tokens
        device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path)
            model = AutoModelForCausalLM.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise ChatError(f"The model {path} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        self._model = model.to(device, dtype).eval()

    def parameters(self) -> dict:
        """See :class:`recbole_rlmrec.llm.chat.ChatModel`."""
        return {"temperature": self._temperature, "max_tokens": self._max_tokens}

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """See :class:`recbole_rlmrec.llm.chat.ChatModel`."""
        import torch

        inputs = self._tokenizer(self._text(messages), return_tensors="pt", add_special_tokens=False)
        ids = inputs["input_ids"].to(self._model.device)
        self._check_length(ids.shape[1])
        sampling = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        end = self._tokenizer.eos_token_id
        with torch.inference_mode():
            output = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._max_tokens,
                pad_token_id=end if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id,
                **sampling,
            )
        written = output[0, ids.shape[1] :]
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        finish = "length" if len(written) >= self._max_tokens and written[-1] != end else "stop"
        return Reply(text, ids.shape[1], len(written), finish)

    def _text(self, messages: Sequence[dict[str, str]]) -> str:
        from jinja2 import TemplateError

        if not self._tokenizer.chat_template:
            return "\n\n".join(message["content"] for message in messages) + "\n\n"
        try:
            return self._templated(messages)
        except TemplateError:  # of a model that knows no system role
            system, first, *rest = messages
            return self._templated([{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest])

    def _templated(self, messages: Sequence[dict[str, str]]) -> str:
        return self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    def _check_length(self, length: int) -> None:
        most = getattr(self._model.config, "max_position_embeddings", None)
        if most and length + self._max_tokens > most:
            raise RefusedError(
                f"A question of {length} tokens and an answer of {self._max_tokens} are more than the {most} of "
                f"{self.name}; lower --max-prompt-tokens."
            )
