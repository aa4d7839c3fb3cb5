"""Methods and held-out queries → measures, intervals and latency."""
