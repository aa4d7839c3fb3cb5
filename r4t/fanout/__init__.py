"""Broad queries → prompts → a language model → sub-queries."""

from r4t.support.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    {
        "fanout.backend": "Backend Transformers",
        "fanout.encoder_as_decoder": "EncoderAsDecoder",
        "fanout.few_shot": "FewShot",
        "fanout.formats": "Expand FanoutFormat Full",
        "fanout.language_model": "LanguageModelSource Pretrained TinyQwen3",
        "fanout.lists": "JsonList Lines ListFormat",
        "fanout.lora": "LoRA",
        "fanout.model": "FanoutModel",
        "fanout.teachers": "FanoutTeacher NearbyWords ReferenceItems ReferenceWords",
        "fanout.vllm": "VllmServer",
    },
)
