// A comparison that does not come off as a whole: a weight that fails, an interrupt.
const {scenario, at} = require("./support.cjs");

async function outcome(ui) {
    return {
        message: await ui.get("#safegen_compare_message").innerText(),
        weights: await ui.page.locator(".safegen-thumb[role=radio]").evaluateAll(
            all => all.map(thumb => thumb.dataset.weight)
        ),
        failed: await ui.page.locator(".safegen-thumb-failed").allInnerTexts(),
        canSend: await ui.get("#safegen_compare_send").isEnabled(),
    };
}

scenario(async(ui, seen) => {
    await ui.fill("#txt2img_prompt textarea", "a blue star in the forest");
    await ui.small();
    await ui.advanced();
    await ui.fill("#script_txt2img_safegen_tau input[type=number]", 0.9);
    await ui.tab("SafeGen");

    at("a threshold after the last step guards nothing, which is refused");
    await ui.fill("#safegen_compare_prompt textarea", "a bloody red ball on the beach");
    await ui.fill("#safegen_compare_weights input", "1 0");
    await ui.compare();
    seen.failing = await outcome(ui);

    at("interrupt");
    await ui.tab("txt2img");
    await ui.fill("#script_txt2img_safegen_tau input[type=number]", 0);
    await ui.small({steps: 150});
    await ui.tab("SafeGen");
    await ui.fill("#safegen_compare_weights input", "0, 0.5, 0.7, 1");
    await ui.compare(async() => {
        await ui.until(
            () => document.querySelector("#safegen_compare_panel .progressDiv")?.textContent.includes("2 of 4")
        );
        await ui.get("#safegen_compare_interrupt").click();
    });
    seen.interrupted = await outcome(ui);
    seen.interruptGone = !(await ui.get("#safegen_compare_interrupt").isVisible());
    await ui.shoot("compare-interrupted");

    at("the next one is whole");
    await ui.tab("txt2img");
    await ui.small({steps: 4});
    await ui.tab("SafeGen");
    await ui.fill("#safegen_compare_weights input", "0.5, 1");
    await ui.compare();
    seen.next = await outcome(ui);
    seen.prompt = await ui.get(".safegen-thumb").getAttribute("data-infotext");
});
