// The accordion as a person uses it: open, choose, generate, paste, switch off.
const {scenario, at} = require("./support.cjs");

const PROMPT = "a bloody red ball on the beach, on the left";
const ID = "#script_txt2img_safegen_";

scenario(async(ui, seen, given) => {
    await ui.get(".safegen-badge").waitFor();
    await ui.page.waitForTimeout(2000);
    seen.askedAtFirst = await ui.asked();
    seen.startsOff = !(await ui.enabled());
    seen.startsClosed = !(await ui.get(`${ID}weight`).isVisible());
    await ui.fill("#txt2img_prompt textarea", given.prompt || PROMPT);
    await ui.small(given.fields);
    if (given.sampler) await ui.choose("#txt2img_sampling", given.sampler);

    at("plain picture");
    seen.plain = await ui.generate();

    at("accordion");
    await ui.unfold();
    seen.ticked = await ui.enabled();
    await ui.says(`${ID}summary`, "Auto");
    await ui.choose(`${ID}context`, "violence");
    await ui.says(`${ID}summary`, "Violence");
    await ui.fill(`${ID}weight input[type=number]`, 0.8);
    await ui.says(`${ID}summary`, "80%");
    seen.summary = await ui.get(`${ID}summary`).innerText();
    seen.sticksOut = await ui.sticksOut(`${ID}enable`);
    await ui.get(`${ID}enable`).scrollIntoViewIfNeeded();
    await ui.shoot("accordion", `${ID}enable`);

    at("guarded picture");
    seen.guarded = await ui.generate();
    await ui.page.evaluate(() => {
        window.scrollTo(0, 0);
        document.activeElement.blur();
    });
    await ui.page.waitForTimeout(500); // the button's colours fade
    await ui.shoot("generated");

    at("pasting");
    // Off, and back by pasting the picture's own parameters.
    await ui.toggle(false);
    await ui.choose(`${ID}context`, "hate");
    await ui.says(`${ID}summary`, "off");
    seen.answers = 0;
    const count = response => response.text().then(text => {
        if (text.includes("data-safegen-state")) seen.answers += 1;
    }, () => {});
    ui.page.on("response", count);
    await ui.paste(seen.guarded);
    await ui.says(`${ID}summary`, "80%");
    ui.page.off("response", count);
    seen.pasted = {
        enabled: await ui.enabled(),
        context: await ui.get(`${ID}context input`).inputValue(),
        weight: await ui.get(`${ID}weight input[type=number]`).inputValue(),
        prompt: await ui.get("#txt2img_prompt textarea").inputValue(),
    };

    // The plain picture's parameters switch it off again.
    await ui.paste(seen.plain);
    seen.enabledAfterPlain = await ui.enabled();
    at("plain picture again");
    seen.off = await ui.generate();
});
