// The badge near Generate: its states, what it opens, and what a reload of the UI leaves.
const {scenario, at} = require("./support.cjs");

const ID = "#script_txt2img_safegen_";

async function badge(ui, tab = "txt2img") {
    return ui.get(`#${tab}_safegen_badge button`).evaluate(
        button => ({state: button.dataset.state, text: button.innerText.replace(/\s+/g, " "), title: button.title})
    );
}

async function becomes(ui, state, tab = "txt2img") {
    await ui.until(
        ([name, wanted]) => document.querySelector(`#${name}_safegen_badge button`)?.dataset.state === wanted,
        [tab, state]
    );
    return badge(ui, tab);
}

/** The badge with the buttons above it. */
async function shootBadge(ui, given, state) {
    await ui.get("#txt2img_generate_box").evaluate(element => element.scrollIntoView({block: "center"}));
    const box = await ui.get("#txt2img_generate_box").boundingBox();
    const below = await ui.get("#txt2img_safegen_badge").boundingBox();
    const clip = {x: box.x - 8, y: box.y - 8, width: box.width + 16, height: below.y + below.height - box.y + 16};
    await ui.page.screenshot({path: `${given.folder}/badge-${state}-${given.width}-${given.theme}.png`, clip});
}

const MEND = "#script_txt2img_safegen_summary .safegen-mend";

scenario(async(ui, seen, given) => {
    const {page} = ui;
    seen.first = await badge(ui);
    await shootBadge(ui, given, seen.first.state);
    seen.spoken = await ui.get("#txt2img_safegen_badge [aria-live=polite]").evaluate(e => e.textContent);
    seen.sticksOut = await ui.sticksOut("#txt2img_safegen_badge");

    at("keyboard opens the accordion");
    await ui.get("#txt2img_safegen_badge button").focus();
    await page.keyboard.press("Enter");
    await ui.get(`${ID}weight`).waitFor({state: "visible"});
    await page.waitForTimeout(1000); // smooth scrolling
    seen.openedTicked = await ui.enabled();
    seen.inSight = await ui.get(`${ID}enable`).evaluate(element => {
        const box = element.getBoundingClientRect();
        return box.top < window.innerHeight && box.bottom > 0;
    });
    seen.focus = await page.evaluate(() => document.activeElement.id);
    if (given.enforced) {
        seen.summary = await ui.get(`${ID}summary`).evaluate(line => line.textContent.trim());
        if (!given.bare) {
            const tick = ui.get(`${ID}enable-visible-checkbox`);
            seen.tick = {disabled: await tick.isDisabled(), ticked: await tick.isChecked()};
            seen.reason = await ui.get(`${ID}enable .safegen-locked`).innerText();
        }
        return;
    }

    at("auto, on");
    if (given.bare) await ui.toggle(true);
    else await page.keyboard.press("Space");
    seen.auto = await becomes(ui, "auto");
    await shootBadge(ui, given, "auto");
    await ui.choose(`${ID}context`, "violence");
    seen.on = await becomes(ui, "on");
    await shootBadge(ui, given, "on");
    await page.evaluate(() => window.scrollTo(0, 0));
    await ui.shoot("badge");

    at("weight 0, and what can't run");
    await ui.fill(`${ID}weight input[type=number]`, 0);
    seen.zero = await becomes(ui, "zero");
    await ui.fill(`${ID}weight input[type=number]`, 0.8);
    await becomes(ui, "on");
    await ui.choose(`${ID}context`, "custom");
    seen.invalid = await becomes(ui, "invalid");
    await ui.choose(`${ID}context`, "violence");
    await becomes(ui, "on");

    at("failed");
    // A plan that reaches no call is refused while sampling begins.
    await ui.fill("#txt2img_prompt textarea", "a bloody red ball on the beach");
    await ui.small();
    await ui.advanced();
    await ui.fill(`${ID}tau input[type=number]`, 0.9);
    await ui.generate();
    seen.failed = await becomes(ui, "failed");
    await shootBadge(ui, given, "failed");
    seen.message = await ui.get("#html_log_txt2img").innerText();
    at("the value is corrected");
    await ui.fill(`${ID}tau input[type=number]`, 0);
    seen.corrected = await becomes(ui, "on");
    await ui.generate();
    seen.cleared = await becomes(ui, "on");

    at("what must be fitted first has its button there, until it is");
    if (!given.bare) { // whose model can't be asked what it would draw
        const mode = name => ui.get(`${ID}mode label:has-text("${name}")`).click();
        await mode("watch");
        await becomes(ui, "invalid");
        seen.unwatched = await ui.get(`${ID}summary`).innerText();
        seen.mendsWatch = await ui.get(MEND).innerText();
        await mode("always");
        await becomes(ui, "on");
    }
    await ui.advanced("detection");
    const probe = ui.get(`${ID}detectors label:has-text("probe")`);
    await probe.click();
    seen.unfitted = await badge(ui);
    seen.promise = "";
    if (given.width < 600) { // the first window; the other finds it fitted
        seen.unfitted = await becomes(ui, "invalid");
        seen.promise = await ui.get(`${ID}summary`).innerText();
        seen.mendFill = await ui.get(MEND).evaluate(button => getComputedStyle(button).backgroundColor);
        await ui.get(MEND).click();
    }
    seen.fitted = await becomes(ui, "on");
    seen.mendGone = !(await ui.get(MEND).isVisible());
    await probe.click();
    await ui.toggle(false);
    seen.off = await becomes(ui, "off");

    at("img2img has its own");
    await ui.tab("img2img");
    seen.other = await badge(ui, "img2img");

    if (given.reload) {
        at("Reload UI");
        await ui.tab("Settings");
        const restarted = page.waitForEvent("load");
        await ui.get("#settings_restart_gradio").click();
        await restarted;
        await ui.ready();
    }
    seen.badges = await page.locator(".safegen-badge").count();
    seen.accordions = await page.locator(`${ID}enable`).count();
    await ui.tab("SafeGen");
    await ui.get("#safegen_compare_generate").waitFor({state: "visible"});
    seen.tabs = await page.locator("#tabs > .tab-nav > button").filter({hasText: "SafeGen"}).count();
    seen.panes = await page.locator("#safegen_tabs [role=tab]").allInnerTexts();
});
