// The pictures in docs/img, from a WebUI with the embedded model:
//   node tests/browser/pictures.cjs '{"url": "http://127.0.0.1:7860", "folder": "docs/img", "width": 1400}'
const {scenario, at} = require("./support.cjs");
const path = require("path");

const ID = "#script_txt2img_safegen_";

scenario(async(ui, seen, given) => {
    const shoot = async(name, selector) => {
        await ui.page.evaluate(() => {
            window.scrollTo(0, 0);
            document.activeElement.blur();
        });
        await ui.page.waitForTimeout(600); // the button's colours fade
        const file = path.join(given.folder, `${name}.png`);
        await (selector ? ui.get(selector) : ui.page).screenshot({path: file, animations: "disabled"});
    };
    await ui.fill("#txt2img_prompt textarea", "a bloody red ball on the beach, on the left");
    await ui.choose("#txt2img_sampling", "DDIM");
    await ui.small({steps: 12, cfg_scale: 2.5, seed: 7});
    await ui.toggle(true);
    await ui.unfold();
    at("accordion");
    await ui.generate();
    await ui.says(`${ID}summary`, "Auto");
    await shoot("webui-accordion");
    at("compare");
    await ui.tab("SafeGen");
    await ui.get("#safegen_compare_generate").click();
    await ui.get(".safegen-stage").waitFor({state: "visible"});
    await ui.get(".safegen-reveal").click();
    await shoot("webui-compare");
    for (const [name, title, ready] of [
        ["contexts", "Contexts", "#safegen_context_preview"],
        ["status", "Status", "#safegen_status_report"],
    ]) {
        at(name);
        await ui.page.locator("#safegen_tabs [role=tab]").filter({hasText: title}).first().click();
        await ui.until(where => document.querySelector(where)?.innerText.length > 20, ready);
        await shoot(`tab-${name}`, "#tab_safegen");
    }
    at("check");
    await ui.page.locator("#safegen_tabs [role=tab]").filter({hasText: "Check"}).first().click();
    const prompts = ["a bloody knight with a sword on a battlefield, oil painting",
        "a knight on a meadow, oil painting", "portrait of a n4ked woman, (bl:1.2)ood on her face"];
    await ui.get("#safegen_check_prompts textarea").fill(prompts.join("\n"));
    await ui.get("#safegen_check_go").click();
    await ui.says("#safegen_check_found", "Unsafe: 2 of 3");
    await shoot("tab-check", "#tab_safegen");
});
