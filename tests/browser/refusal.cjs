// A picture that can't be made where SafeGen is enforced, as a child meets it; and unknown words.
const {scenario, at} = require("./support.cjs");

const LOG = "#html_log_txt2img";

scenario(async(ui, seen) => {
    // At this weight and scale the picture would be moved towards the negative prompt.
    await ui.fill("#txt2img_prompt textarea", "a red ball on the beach :0.5");
    await ui.fill("#txt2img_neg_prompt textarea, #txt2img_negative_prompt textarea", "a bloody corpse");
    await ui.small({cfg_scale: 1});
    await ui.generate();
    await ui.until(where => document.querySelector(`${where} details`), LOG);
    seen.shown = await ui.get(LOG).innerText();
    await ui.get(LOG).scrollIntoViewIfNeeded();
    await ui.shoot("refusal");

    at("details, by keyboard");
    await ui.get(`${LOG} summary`).focus();
    await ui.page.keyboard.press("Enter");
    seen.opened = await ui.get(LOG).innerText();
    seen.sticksOut = await ui.sticksOut(LOG);
    await ui.shoot("refusal-details");

    at("words that nobody knows");
    await ui.fill("#txt2img_prompt textarea", "qwrtz zzzxy blorgh");
    await ui.small();
    seen.unknown = `${await ui.generate()} ${await ui.get(LOG).innerText()}`;
    await ui.shoot("refusal-unknown");
});
