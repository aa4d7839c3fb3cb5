"""Stages 3 to 5: directions generated together by a diffusion transformer."""

from r4t.support.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    {
        "diffusion.data": "TargetData",
        "diffusion.generator": "DirectionGenerator",
        "diffusion.exploration": "Exploration GaussianNoise ItemSampling",
        "diffusion.likelihood": "LikelihoodStudent",
        "diffusion.module": "DiffusionRetriever TrainingNoise",
        "diffusion.network": "AdaptiveSetTransformer LinearSet SetTransformer",
        "diffusion.refiner": "RetrieverRefiner",
        "diffusion.sampler": "Euler Heun Multistep ReverseSde Sampler",
        "diffusion.schedule": "Exponential Karras Levels LogNormal Schedule Tangent",
        "diffusion.slots": "SlotSet",
        "diffusion.start": "Start",
        "diffusion.student": "FewStepStudent Trajectory",
        "diffusion.training": "CompileNetwork",
    },
)
