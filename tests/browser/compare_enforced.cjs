// The comparison where the operator enforces SafeGen: no original, nothing under the floor.
const {scenario, at} = require("./support.cjs");

scenario(async(ui, seen) => {
    await ui.fill("#txt2img_prompt textarea", "a bloody red ball on the beach, on the left");
    await ui.small();
    await ui.tab("SafeGen");
    const weights = ui.get("#safegen_compare_weights input");
    await weights.waitFor({state: "visible"});
    seen.introduction = await ui.get("#safegen_compare_introduction").innerText();
    seen.weights = await weights.inputValue();
    at("asking for the original");
    await weights.fill("0, 0.3, 0.7, 1");
    await weights.blur();
    await ui.compare();
    seen.message = await ui.get("#safegen_compare_message").innerText();
    seen.made = await ui.page.locator(".safegen-thumb").evaluateAll(all => all.map(thumb => thumb.dataset.weight));
    seen.infotexts = await ui.page.locator(".safegen-thumb").evaluateAll(all => all.map(thumb => thumb.dataset.infotext));
    seen.before = await ui.get(".safegen-tag-before").innerText();
    seen.reveals = await ui.page.locator(".safegen-reveal").count();
    seen.veiled = await ui.page.locator(".safegen-veiled").count();
    await weights.fill("0, 0.1");
    await weights.blur();
    await ui.compare();
    seen.nothing = {
        message: await ui.get("#safegen_compare_message").innerText(),
        thumbs: await ui.page.locator(".safegen-thumb").count(),
        canSend: await ui.get("#safegen_compare_send").isEnabled(),
    };
});
