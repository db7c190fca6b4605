"""SafeGen on AUTOMATIC1111 WebUI 1.10.1: one sampling pass of the host under guard.

The host's CFG denoiser evaluates, in one UNet call, the cond rows of every image and then one
uncond row per image (`rows.RowLayout`). Two callbacks surround that call:

- ``cfg_denoiser``, before: `PassGuard.before` asks the session what is due and puts the safe
  rows between the cond and the uncond rows, where the host's own guidance passes over them.
- ``cfg_denoised``, after: `PassGuard.after` blends the cond rows in place. Guidance is affine in
  them, and everything that leaves the denoiser (the guided result, ``last_latent``, every kind
  of preview) is computed from them afterwards.

The host prints and forgets what a callback raises. So the guard also wraps two methods of the
denoiser *instance*, which the host calls directly: ``combine_denoised`` raises unless both
callbacks have done their work in this very call, and ``get_pred_x0``, from which previews and
the latent of an interrupted run are made, blanks guarded images until the first blend.

Nothing here imports the host; what is needed of it comes in as ``host``
(`safegen.webui.host`) and as the objects that its callbacks hand over.
"""

from safegen.hosts.a1111.guard import PassGuard
from safegen.hosts.a1111.limits import check_pass, stop, why_not
from safegen.hosts.a1111.shown import UnguardedShown

__all__ = ["PassGuard", "UnguardedShown", "check_pass", "stop", "why_not"]
