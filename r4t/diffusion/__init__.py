"""Target sets → a diffusion retriever that emits all L directions of a set together (stage 3)."""
