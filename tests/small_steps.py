"""Settings that make each verb a matter of seconds on the small run, and what it logged."""

import csv

import yaml

SIZES = ["--set_size", "4", "--pool_size", "8", "--curves", "[]", "--across_runs", "2"]
EVALUATE = [*SIZES, "--latency_batches", "[]", "--plots", "false", "--queries", "4"]
TUNE = {"grpo": {"group_size": 2, "micro_batch": 8}, "sampling": {"max_new_tokens": 8}}
FEW = {
    "data": {"init_args": {"batch_size": 4, "val_queries": 4}},
    "trainer": {"max_steps": 2, "val_check_interval": 2, "log_every_n_steps": 1},
}


def overlay(path, init_args, **others):
    """A config of these init_args of the model and of other sections; returns its path."""
    path.write_text(yaml.safe_dump({"model": {"init_args": init_args}, **others}))
    return path


def logged_values(run, name):
    """All numbers that tuning logged under keys with ``name``."""
    (log,) = run.step("tune").glob("logs/*/metrics.csv")
    return [
        float(value)
        for row in csv.DictReader(log.open(encoding="utf-8"))
        for key, value in row.items()
        if name in key and value
    ]
