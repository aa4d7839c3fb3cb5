"""Stage 1: a fan-out language model, taught (warm start) and tuned by Soft-GRPO."""

from r4t.support.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    {
        "credit": "Credit LeaveOneOut Shapley WholeSet",
        "training.collapse": "AuditGap BestWindow CollapseDetector Deaf Fades FirstWindow Narrows Rises",
        "training.query_data": "QueryData",
        "training.soft_grpo": "SoftGRPO",
        "training.watchdog": "RollBack Stop Warn Watchdog",
        "grpo.module": "FanoutTuner",
        "grpo.monitor.rollout_tables": "SampleTable",
        "grpo.monitor.statistics": "FanoutStatistics",
        "grpo.training": "Sampling",
        "grpo.warm_start": "WarmStart",
    },
)
