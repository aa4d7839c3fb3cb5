"""What the trainings of both models share: learning rates, checkpoints, exports, rollouts, a watchdog."""
