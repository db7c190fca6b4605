// The comparison: several weights in one click, slider, strip, map, send to txt2img.
const {scenario, at} = require("./support.cjs");

const PROMPT = "a bloody red ball on the beach, on the left";
const STAGE = ".safegen-stage";

/** What the slider stands at, and how far the picture is cut. */
async function split(ui) {
    return ui.page.evaluate(() => {
        const handle = document.querySelector(".safegen-handle");
        const stage = document.querySelector(".safegen-stage");
        const box = stage.getBoundingClientRect();
        const at = handle.getBoundingClientRect();
        return {
            value: Number(handle.getAttribute("aria-valuenow")),
            text: handle.getAttribute("aria-valuetext"),
            shown: Math.round(100 * (at.left + at.width / 2 - box.left) / box.width),
        };
    });
}

async function blurred(ui, selector) {
    return ui.get(selector).evaluate(element => getComputedStyle(element).filter.includes("blur"));
}

scenario(async(ui, seen, given) => {
    const {page} = ui;
    await ui.fill("#txt2img_prompt textarea", given.prompt || PROMPT);
    await ui.small({steps: given.steps || 4, cfg_scale: given.cfg || 3, seed: given.seed || 7});
    if (given.sampler) await ui.choose("#txt2img_sampling", given.sampler);
    await ui.tab("SafeGen");
    await ui.get("#safegen_compare_weights").waitFor({state: "visible"});
    seen.weights = await ui.get("#safegen_compare_weights input").inputValue();
    seen.sendsNothingYet = await ui.get("#safegen_compare_send").isDisabled();

    at("weights that are not allowed");
    await ui.fill("#safegen_compare_weights input", "0, 1.5");
    await ui.compare();
    seen.refusal = await ui.get("#safegen_compare_message").innerText();
    await ui.fill("#safegen_compare_weights input", given.weights || "0, 0.5, 1");

    at("comparing");
    const progressing = page.waitForSelector("#safegen_compare_panel .progressDiv", {state: "attached"});
    const stoppable = page.waitForFunction(
        () => document.querySelector("#safegen_compare_interrupt").style.display === "block"
    );
    await ui.compare();
    seen.progress = Boolean(await progressing) && Boolean(await stoppable);
    await page.waitForSelector(STAGE);
    await ui.until(() => [...document.querySelectorAll(".safegen-compare img[src]")].every(i => i.complete));
    seen.message = await ui.get("#safegen_compare_message").innerText();
    seen.thumbs = await page.locator(".safegen-thumb").evaluateAll(all => all.map(thumb => ({
        weight: thumb.dataset.weight, infotext: thumb.dataset.infotext, map: thumb.dataset.map.length,
        checked: thumb.getAttribute("aria-checked"), drawn: thumb.querySelector("img").naturalWidth,
    })));
    seen.blurredFirst = [await blurred(ui, ".safegen-before"), await blurred(ui, ".safegen-thumb[data-weight='0'] img")];
    seen.sticksOut = await ui.sticksOut("#tab_safegen .safegen-compare");
    await ui.shoot("compare-blurred");

    at("original");
    await ui.get(".safegen-reveal").click();
    seen.blurredAfter = [await blurred(ui, ".safegen-before"), await blurred(ui, ".safegen-thumb[data-weight='0'] img")];

    at("slider");
    const box = await ui.get(STAGE).boundingBox();
    const y = box.y + box.height / 3;
    await page.mouse.move(box.x + box.width / 2, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.25, y, {steps: 4});
    await page.mouse.up();
    await page.mouse.move(box.x + box.width * 0.9, y); // a move without a button moves nothing
    seen.byMouse = await split(ui);
    if (given.width < 600) {
        await page.touchscreen.tap(box.x + box.width * 0.7, y);
        seen.byTouch = await split(ui);
    }
    await ui.get(".safegen-handle").focus();
    await page.keyboard.press("Home");
    seen.home = await split(ui);
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("PageUp");
    seen.byKeys = await split(ui);
    await page.keyboard.press("End");
    seen.end = await split(ui);
    const now = await ui.get(STAGE).boundingBox();
    await page.mouse.click(now.x + now.width * (given.split || 0.5), now.y + now.height / 3);

    at("strip");
    await ui.get(".safegen-thumb[aria-checked='true']").focus();
    await page.keyboard.press("ArrowRight");
    seen.chosenByKey = await ui.get(".safegen-thumb[aria-checked='true']").getAttribute("data-weight");
    await ui.get(`.safegen-thumb[data-weight='${given.send || "0.5"}']`).click();
    seen.chosenByClick = await ui.get(".safegen-tag-after").innerText();
    await ui.get(".safegen-show-map").check();
    seen.mapShown = await ui.get(".safegen-map").isVisible();
    seen.mapOverBoth = await page.evaluate(() => {
        const box = document.querySelector(".safegen-stage").getBoundingClientRect();
        const over = share => document.elementFromPoint(box.left + share * box.width, box.top + 0.6 * box.height);
        return [0.2, 0.8].every(share => over(share).matches(".safegen-map"));
    });
    seen.tickColour = await ui.get(".safegen-show-map").evaluate(tick => getComputedStyle(tick).backgroundColor);
    await ui.shoot("compare-map");
    await ui.get(".safegen-show-map").uncheck();
    await ui.get(".safegen-compare").evaluate(pane => {
        window.scrollTo(0, window.innerWidth < 600 ? pane.getBoundingClientRect().top + window.scrollY - 8 : 0);
    });
    await page.evaluate(() => document.activeElement.blur());
    await ui.shoot("compare");
    await ui.get(".safegen-compare").screenshot({path: `${given.folder}/compare-pane-${given.width}-${given.theme}.png`});

    at("a weight that is not allowed, after a comparison");
    await ui.fill("#safegen_compare_weights input", "0, 1.5");
    await ui.compare();
    seen.keptAfterRefusal = await page.locator(".safegen-thumb").count();

    at("send");
    await ui.get("#safegen_compare_send").click();
    await ui.get("#txt2img_generate").waitFor({state: "visible"});
    await ui.until(
        () => document.querySelector("#script_txt2img_safegen_enable-checkbox input").checked
    );
    await page.waitForTimeout(1500);
    seen.sent = {
        prompt: await ui.get("#txt2img_prompt textarea").inputValue(),
        seed: await ui.get("#txt2img_seed input").inputValue(),
        enabled: await ui.enabled(),
        weight: await ui.get("#script_txt2img_safegen_weight input[type=number]").inputValue(),
        context: await ui.get("#script_txt2img_safegen_context input").inputValue(),
    };
});
