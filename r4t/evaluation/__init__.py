"""Methods and held-out queries → tables: baselines, measures on returned items, latent truth."""
