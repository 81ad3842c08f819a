"""A language model small enough to be made in a test: random weights, and a tokenizer that takes any text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from shared.language.chat import end_ids
from shared.language.load import Loaded

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HYBRID = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if loop.last and message['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
"""Words a chat as hybrid models do: unless told not to think, its prompt leaves that open."""
WITH_SPACES = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""Words a chat as Mistral's older models do: a space before the answer, and no special generation prompt."""

_READ = [
    "move Psychic Noise move Psychic switch Rotom-Wash tera",
    "user assistant system Gen 9 turn",
    "move Close Combat",
]


def tiny_tokenizer(template: str | None = CHATML, bos: str | None = None) -> Any:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]
    tokenizer.train_from_iterator(
        _READ * 3,
        BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=ByteLevel.alphabet(), show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        bos_token=bos,
        chat_template=template,
    )


def tiny_model(seed: int = 1, **changes: Any) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": 320,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **changes,
        }
    )
    return LlamaForCausalLM(config).eval()


def tiny_mistral3(seed: int = 1) -> Any:
    """Of the architecture of Ministral 3: a language model beside a vision tower whose layers bear the same names."""
    torch.manual_seed(seed)
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    config = Mistral3Config(
        text_config={
            **layers,
            "model_type": "mistral",
            "vocab_size": 320,
            "num_key_value_heads": 2,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config={**layers, "model_type": "pixtral", "image_size": 32, "patch_size": 16},
    )
    return Mistral3ForConditionalGeneration(config).eval()


def save_tiny_mistral3(folder: Path) -> Path:
    """A folder with it, as `save_tiny` makes one."""
    tiny_mistral3().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny(seed: int = 1) -> Loaded:
    """A model as `load` gives it."""
    tokenizer = tiny_tokenizer()
    return Loaded(tiny_model(seed), tokenizer, {}, end_ids(tokenizer), "cpu", "float32")


def save_tiny(folder: Path, seed: int = 1, **changes: Any) -> Path:
    """A folder with a whole model, as a trainer publishes one."""
    tiny_model(seed, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, seed: int) -> Path:
    """A folder with an adapter over `base` that says something else than it does."""
    torch.manual_seed(seed)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return folder


def score_plainly(model: Any, prompt: Sequence[int], member: Sequence[int]) -> float:
    """The log-probability of an answer, by a slow forward of prompt and answer alone."""
    ids = torch.tensor([[*prompt, *member]], device=model.device)
    with torch.inference_mode():
        logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    return float(sum(logprobs[len(prompt) - 1 + place, token] for place, token in enumerate(member)))
