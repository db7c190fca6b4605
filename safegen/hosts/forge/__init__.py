"""SafeGen on Forge, reForge and their kin: one sampling pass of the host under guard.

The host's CFG denoiser calls, in each of its calls, the ``cfg_denoiser`` callbacks, then the
conditioning modifiers of the UNet's patcher, then the model, and guides what it predicts. It has
no callback between the model and the guidance. So:

- at the callback `PassGuard.before` sees to it that the patcher has SafeGen's modifier
  (`patch.Patch`), also after the host has put another patcher in its place (a refiner does).
- the modifier asks the session what is due, and gives the host, for this very call, options in
  which SafeGen's function is the last after guidance. That function evaluates the safe rows by
  the host's own means (`evaluation`), blends, and returns the guided result.
- around it, on the denoiser *instance*, ``forward`` raises unless both were there in this very
  call and what leaves it is what was made in it.

What these functions raise reaches the caller; the host catches only what callbacks raise.
"""

from safegen.hosts.forge.evaluation import why_not
from safegen.hosts.forge.guard import PassGuard, UnguardedShown
from safegen.hosts.forge.limits import check_pass
from safegen.hosts.forge.patch import stop

__all__ = ["PassGuard", "UnguardedShown", "check_pass", "stop", "why_not"]
