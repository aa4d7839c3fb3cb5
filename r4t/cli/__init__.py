"""The verbs of the program ``r4t``, one file each (the training verbs share one)."""
