"""Classifier-free guidance: one model call for cond and uncond rows, between the callbacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules import prompt_parser, script_callbacks, sd_samplers_common, shared
from modules.shared import opts, state


def _part(cond: Any, rows: slice) -> Any:
    return {k: v[rows] for k, v in cond.items()} if isinstance(cond, dict) else cond[rows]


def _joined(*conds: Any) -> Any:
    if isinstance(conds[0], dict):
        return {key: torch.cat([c[key] for c in conds]) for key in conds[0]}
    return torch.cat(conds)


def _lengthened(cond: Any, count: int, empty: Tensor) -> Any:
    """``cond`` with ``count`` times the empty prompt's tokens behind its own."""
    if isinstance(cond, dict):
        cond["crossattn"] = _lengthened(cond["crossattn"], count, empty)
        return cond
    return torch.cat([cond, empty.repeat(len(cond), count, 1)], dim=1)


class CFGDenoiser(torch.nn.Module):
    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.sampler = sampler
        self.model_wrap: Any = None
        self.p: Any = None
        self.mask: Any = None
        self.nmask: Any = None
        self.init_latent: Any = None
        self.steps = self.total_steps = 0
        self.step = 0
        self.image_cfg_scale: Any = None
        self.cond_scale_miltiplier = 1.0
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        self.need_last_noise_uncond, self.last_noise_uncond = False, None
        self.mask_before_denoising = False

    @property
    def inner_model(self) -> Any:
        raise NotImplementedError

    def update_inner_model(self) -> None:
        self.model_wrap = None
        cond, uncond = self.p.get_conds()
        self.sampler.sampler_extra_args.update(cond=cond, uncond=uncond)

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        return x_out

    def combine_denoised(
        self, x_out: Tensor, conds_list: Any, uncond: Any, cond_scale: float
    ) -> Tensor:
        base = x_out[-uncond.shape[0] :]
        result = base.clone()
        for image, parts in enumerate(conds_list):
            for row, weight in parts:
                result[image] += (x_out[row] - base[image]) * (weight * cond_scale)
        return result

    def _masked(self, latent: Tensor) -> Tensor:
        return latent * self.nmask + self.init_latent * self.mask

    def _condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        if isinstance(text, dict):
            return {**text, "c_concat": [image]}
        return {"c_crossattn": [text], "c_concat": [image]}

    def _skips_uncond(self, sigma: Tensor, s_min_uncond: float) -> bool:
        if opts.skip_early_cond and self.step / self.total_steps <= opts.skip_early_cond:
            self.p.extra_generation_params["Skip Early CFG"] = opts.skip_early_cond
            return True
        due = bool(self.step % 2 or opts.s_min_uncond_all)
        if due and s_min_uncond > 0 and float(sigma[0]) < s_min_uncond:
            self.p.extra_generation_params["NGMS"] = s_min_uncond
            return True
        return False

    def _padded(self, text: Any, uncond: Any) -> tuple[Any, Any]:
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        difference = text.shape[1] - uncond.shape[1]
        if not difference:
            return text, uncond
        if opts.pad_cond_uncond_v0:
            self.padded_cond_uncond_v0 = True
            tokens = uncond["crossattn"] if isinstance(uncond, dict) else uncond
            tokens = torch.cat([tokens, tokens[:, -1:].repeat(1, max(difference, 0), 1)], dim=1)
            tokens = tokens[:, : text.shape[1]]
            if isinstance(uncond, dict):
                uncond["crossattn"] = tokens
            else:
                uncond = tokens
        elif opts.pad_cond_uncond:
            self.padded_cond_uncond = True
            empty = shared.sd_model.cond_stage_model_empty_prompt
            times = abs(difference) // empty.shape[1]
            if difference < 0:
                text = _lengthened(text, times, empty)
            else:
                uncond = _lengthened(uncond, times, empty)
        return text, uncond

    def _evaluate(
        self,
        x: Tensor,
        sigma: Tensor,
        text: Any,
        uncond: Any,
        image: Tensor,
        batch: int,
        skip: bool,
    ) -> Tensor:
        def model(rows: slice, cond: Any) -> Tensor:
            return self.inner_model(x[rows], sigma[rows], cond=self._condition(cond, image[rows]))

        if skip or text.shape[1] == uncond.shape[1]:
            cond = text if skip else _joined(text, uncond)
            if opts.batch_cond_uncond:
                return model(slice(0, len(x)), cond)
            parts = [slice(i, i + batch) for i in range(0, len(x), batch)]
            return torch.cat([model(rows, _part(cond, rows)) for rows in parts])
        out = torch.zeros_like(x)
        size = batch * 2 if opts.batch_cond_uncond else batch
        count = text.shape[0]
        for begin in range(0, count, size):
            rows = slice(begin, min(begin + size, count))
            out[rows] = model(rows, _part(text, rows))
        rows = slice(len(x) - batch, len(x))
        out[rows] = model(rows, uncond)
        return out

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        uncond: Any,
        cond: Any,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Tensor,
    ) -> Tensor:
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]
        layout, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._masked(x)

        def rows(value: Tensor) -> Tensor:
            counts = torch.tensor([len(parts) for parts in layout])
            return torch.cat([value.repeat_interleave(counts, dim=0), value])

        before = script_callbacks.CFGDenoiserParams(
            rows(x),
            rows(image_cond),
            rows(sigma),
            state.sampling_step,
            state.sampling_steps,
            text,
            uncond,
            self,
        )
        script_callbacks.cfg_denoiser_callback(before)
        x_in, levels, image = before.x, before.sigma, before.image_cond
        text, uncond = before.text_cond, before.text_uncond

        batch = len(layout)
        skip = self._skips_uncond(sigma, s_min_uncond)
        if skip:
            x_in, levels = x_in[:-batch], levels[:-batch]
        text, uncond = self._padded(text, uncond)
        out = self._evaluate(x_in, levels, text, uncond, image, batch, skip)
        first = [parts[0][0] for parts in layout]
        if skip:
            out = torch.cat([out, out[first]])
        after = script_callbacks.CFGDenoisedParams(
            out, state.sampling_step, state.sampling_steps, self.inner_model
        )
        script_callbacks.cfg_denoised_callback(after)

        if self.need_last_noise_uncond:
            self.last_noise_uncond = out[-uncond.shape[0] :].clone()
        scale = 1.0 if skip else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(out, layout, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._masked(denoised)

        self.sampler.last_latent = self.get_pred_x0(x_in[first], out[first], sigma)
        if opts.live_preview_content == "Prompt":
            preview = self.sampler.last_latent
        elif opts.live_preview_content == "Negative prompt":
            preview = self.get_pred_x0(x_in[-batch:], out[-batch:], sigma)
        else:
            preview = self.get_pred_x0(x_in[first], denoised, sigma)
        sd_samplers_common.store_latent(preview)

        final = script_callbacks.AfterCFGCallbackParams(
            denoised, state.sampling_step, state.sampling_steps
        )
        script_callbacks.cfg_after_cfg_callback(final)
        self.step += 1
        return final.x
