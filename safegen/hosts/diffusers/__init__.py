"""SafeGen for diffusers: `guard` and `generate`, and what a method of another kind needs too.

Importing this needs torch, not diffusers. ``safegen.hosts.diffusers.guider`` needs diffusers.
"""

from safegen.hosts.diffusers.encoder import PipelineEncoder
from safegen.hosts.diffusers.forward import Forward, replaced_forward
from safegen.hosts.diffusers.pipelines import Generated, GuardedRun, generate, guard
from safegen.hosts.diffusers.rows import sample_of, with_sample

__all__ = [
    "Forward",
    "Generated",
    "GuardedRun",
    "PipelineEncoder",
    "generate",
    "guard",
    "replaced_forward",
    "sample_of",
    "with_sample",
]
