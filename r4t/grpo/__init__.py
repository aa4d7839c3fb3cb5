"""Stage 1: warm start a fan-out language model, then tune it with Soft-GRPO."""
