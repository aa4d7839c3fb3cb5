"""What other rooms lean on: files, seeds, caches, progress, interruption, text."""
