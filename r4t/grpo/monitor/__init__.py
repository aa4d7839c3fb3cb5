"""What watches a tuning run: rollout statistics, tables and collapse detection."""
