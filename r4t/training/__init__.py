"""What the trainings of both models share with Lightning: learning rates, checkpoints, exports."""
