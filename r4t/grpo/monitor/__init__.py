"""What is told of a tuning run: rollout statistics, tables, and signs that a reward is gamed."""
