"""SafeGen's script: its controls, and the one hook that it needs."""

from modules import scripts

try:
    from modules.ui_components import InputAccordion

    from safegen.webui import accordion, infotext, lifecycle, registry
except Exception as problem:
    # Nothing of SafeGen may be there to ask, and another host may have none of what is asked here.
    from modules import processing, shared

    LEVEL = str(
        getattr(shared.cmd_opts, "safegen_enforce", None)
        or getattr(shared.opts, "data", {}).get("safegen_enforce", "off")
    )
    if LEVEL.strip().lower() in ("", "off"):
        print(f"SafeGen: guards nothing here, as it can't run in this WebUI: {problem!r}")
    else:
        REASON = (
            f"SafeGen: enforced here (level {LEVEL}) but can't run in this WebUI, so nothing is "
            f"generated: {problem!r}"
        )

        def process_images_inner(p):
            from fastapi import HTTPException

            raise HTTPException(500, REASON) if p.is_api else RuntimeError(REASON)

        processing.process_images_inner = process_images_inner
        print(REASON)
else:

    class SafeGenScript(scripts.Script):
        """Safety guidance inside the denoising loop."""

        is_safegen = True
        # The host forgets it when it reloads script bodies, and its API then refuses the script.
        alwayson = True

        def title(self):
            return "SafeGen"

        def show(self, is_img2img):
            return scripts.AlwaysVisible

        def ui(self, is_img2img):
            made = accordion.build(InputAccordion, self.elem_id)
            self.infotext_fields = [(made[name], key) for name, key in infotext.PASTE_KEYS.items()]
            self.paste_field_names = [str(key) for key in infotext.PASTE_KEYS.values()]
            return list(made.values())

        def process_before_every_sampling(self, p, *args, **kwargs):
            lifecycle.before_every_sampling(p)

    registry.register()
