"""Set-valued fan-out retrieval: objectives, Soft-GRPO, and the diffusion retriever they train."""

__version__ = "0.1.0"
