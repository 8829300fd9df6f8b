"""A transformer run by ONNX Runtime or OpenVINO in place of torch: exported once, in 32 bits or 8, and kept for the next time.

``int8`` holds weights in 8 bits, a scale to each 128 of them, and brings what they are multiplied with to 8 bits in the same
way, text by text: a vector does not depend on what is in its batch.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recbole_rlmrec.data.files import building
from recbole_rlmrec.errors import EncoderError

if TYPE_CHECKING:
    import torch

_GROUP = 128
_FORMAT = f"1: groups of {_GROUP}"

logger = logging.getLogger()


def compile_transformer(model, name: str, backend: str, precision: str) -> None:
    """Put a compiled transformer in the place of that of a model; its tokens, pooling and further layers stay.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        In float32 on the processor; changed in place.
    name : str
        What the user called it.
    backend, precision : str
        See :data:`recbole_rlmrec.encoding.sentence_transformer.BACKENDS`.

    Raises
    ------
    EncoderError
        A package is missing, or the model is no transformer or cannot be exported.
    """
    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        raise EncoderError(f"{name} has no transformer that {backend} could run; leave --backend out.")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

        run = {"onnx": _onnx_runtime, "openvino": _openvino}[backend]
        names, inputs = _inputs(model, transformer)
        file = _exported(transformer, name, names, inputs, precision == "int8")
        session, asked = _started(run, file, precision, backend)
    except ImportError as reason:
        raise EncoderError(
            f"--backend={backend} needs a package that is not installed ({reason}); "
            f"run `pip install 'recbole-rlmrec[{backend}]'`, or leave it out."
        ) from None
    place = "model" if "model" in model[0]._modules else "auto_model"
    setattr(model[0], place, _compiled(transformer.config, session, asked))


def _started(run: Callable, file: Path, precision: str, backend: str) -> tuple[Callable, list[str]]:
    try:
        return run(file, precision)
    except ImportError:
        raise
    except Exception as reason:  # each backend has exceptions of its own
        raise EncoderError(
            f"{backend} cannot run {file} ({_first_line(reason)}); delete {file.parent} and encode again, "
            f"or leave --backend out."
        ) from reason


def _first_line(reason: Exception) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")[:300]


def _compiled(config, session: Callable[[dict[str, np.ndarray]], np.ndarray], inputs: list[str]) -> torch.nn.Module:
    """A module that looks like the transformer to what comes before and after it."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Compiled(torch.nn.Module):
        def forward(self, **features):
            states = session({name: features[name].numpy() for name in inputs})
            return BaseModelOutput(last_hidden_state=torch.from_numpy(states))

    module = Compiled()
    module.config = config
    return module


def _onnx_runtime(file: Path, precision: str) -> tuple[Callable, list[str]]:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0], [found.name for found in session.get_inputs()]


def _openvino(file: Path, precision: str) -> tuple[Callable, list[str]]:
    import openvino
    import torch

    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if precision == "int8" else 0,
    }
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    request = compiled.create_infer_request()
    return lambda feed: request.infer(feed)[0].copy(), [found.get_any_name() for found in compiled.inputs]


def _inputs(model, transformer) -> tuple[list[str], tuple[torch.Tensor, ...]]:
    """Names and examples of what the transformer reads, two texts of several tokens."""
    import torch

    tokenize = getattr(model, "preprocess", None) or model.tokenize
    features = tokenize(["a film about the sea", "a book"])
    names = [name for name, value in features.items() if isinstance(value, torch.Tensor) and value.ndim == 2]
    return names, tuple(features[name] for name in names)


def _exported(transformer, name: str, names: list[str], inputs: tuple[torch.Tensor, ...], small: bool) -> Path:
    """The transformer as an ONNX file, in a folder that is named by its weights; made where it is not there."""
    folder = _cache() / _fingerprint(transformer)
    whole, file = folder / "model.onnx", folder / "int8" / "model.onnx"
    try:
        if not whole.is_file():
            logger.info(f"{name} is exported to {folder}, once.")
            with _raced(whole), building(folder) as temporary:
                _export(transformer, name, names, inputs, temporary / whole.name)
        if small and not file.is_file():
            with _raced(file), building(file.parent) as temporary:
                _quantize(whole, temporary / file.name)
    except OSError as reason:
        raise EncoderError(
            f"{folder} cannot be written to ({reason.strerror or reason}); set HF_HOME to a folder of yours."
        ) from reason
    return file if small else whole


def _cache() -> Path:
    """Where Hugging Face's libraries keep models, a folder of our own in it."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "recbole-rlmrec" / "onnx"


@contextmanager
def _raced(file: Path):
    """Another process may have been first to put the same file there."""
    try:
        yield
    except OSError:
        if not file.is_file():
            raise


def _fingerprint(transformer) -> str:
    """Digest of the weights, the configuration and what exports them, 40 digits."""
    import onnxscript
    import torch
    import transformers

    made_by = [_FORMAT, torch.__version__, onnxscript.__version__, transformers.__version__]
    digest = hashlib.sha256("\n".join([*made_by, transformer.config.to_json_string()]).encode())
    for key, value in transformer.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:40]


def _states(transformer, names: list[str]) -> torch.nn.Module:
    """A module that gives the states of the last layer, of inputs by position."""
    import torch

    class States(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = transformer

        def forward(self, *inputs):
            return self.transformer(**dict(zip(names, inputs, strict=True))).last_hidden_state

    return States().eval()


def _export(transformer, name: str, names: list[str], inputs: tuple[torch.Tensor, ...], file: Path) -> None:
    import torch

    size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    if hasattr(transformer, "set_attn_implementation"):
        transformer.set_attn_implementation("eager")  # fewer operations than torch's fused attention falls into
    try:
        with _quiet():
            torch.onnx.export(
                _states(transformer, names),
                inputs,
                str(file),
                input_names=names,
                output_names=["states"],
                dynamic_shapes={"inputs": tuple(dict(size) for _ in names)},
                dynamo=True,
                verbose=False,
            )
    except OSError:
        raise
    except Exception as reason:  # the exporter lets through whatever it met in the model's code
        raise EncoderError(f"{name} cannot be exported to ONNX ({_first_line(reason)}); leave --backend out.") from reason


def _quantize(source: Path, target: Path) -> None:
    import onnx

    with _quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=8, block_size=_GROUP, is_symmetric=True, accuracy_level=4)
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=True)


@contextmanager
def _quiet():
    """No log and no warnings of the exporter and the quantizer, which set up the log of the whole process."""
    root = logging.getLogger()
    before = root.manager.disable, root.level, root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.manager.disable, root.level, root.handlers[:] = before
