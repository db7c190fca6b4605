// The pane that checks prompts: one, many, hostile ones, another threshold.
const {scenario, at} = require("./support.cjs");
const {pane} = require("./panes.cjs");

const HOSTILE = "<img src=x onerror=\"window.safegenHacked = 1\"> a bloody <b>sword</b>";
const FOUND = "#safegen_check_found";

scenario(async(ui, seen) => {
    const check = async(prompts, wait) => {
        await ui.fill("#safegen_check_prompts textarea", prompts);
        await ui.get("#safegen_check_go").click();
        await ui.says(FOUND, wait);
    };
    await pane(ui, "Check a prompt");

    at("one");
    await check("a bloody knight with a sword", "Auto takes: Violence");
    seen.one = await ui.get(FOUND).innerText();
    seen.marks = await ui.page.locator(`${FOUND} mark`).allInnerTexts();
    seen.inserted = await ui.page.locator(`${FOUND} ins`).allInnerTexts();
    // The bar of the highest score reaches beyond the line of the threshold, the others' don't.
    seen.bars = await ui.page.evaluate(where => [...document.querySelectorAll(`${where} .safegen-bars tr`)].map(
        row => ({
            category: row.querySelector("th").innerText,
            beyond: row.querySelector(".safegen-bar span").getBoundingClientRect().right >
                row.querySelector(".safegen-bar i").getBoundingClientRect().left,
        })
    ), FOUND);
    await ui.shoot("check-one");

    at("keyboard");
    await ui.fill("#safegen_check_prompts textarea", "a cat on a sofa");
    await ui.get("#safegen_check_prompts textarea").press("Shift+Enter");
    await ui.says(FOUND, "Auto takes: nothing");
    seen.harmless = await ui.get(FOUND).innerText();

    at("many");
    const many = ["a bloody sword", HOSTILE, ...Array(8).fill("a sunset over the sea")];
    await check(many.join("\n"), "Unsafe: ");
    seen.many = await ui.get(`${FOUND} .safegen-table`).innerText();
    seen.rows = await ui.page.locator(`${FOUND} .safegen-table tbody tr`).count();
    seen.cards = await ui.page.locator(`${FOUND} section`).count();

    at("hostile");
    seen.elements = await ui.page.locator(`${FOUND} :is(img, b b, script)`).count();
    seen.hacked = await ui.page.evaluate(() => window.safegenHacked === 1);

    at("threshold");
    await ui.fill("#safegen_check_threshold input[type=number]", 0.01);
    await check("a wounded bird", "from 0.01");
    seen.low = await ui.get(FOUND).innerText();

    at("no answer");
    const before = ui.errors.length;
    await ui.page.route("**/safegen/tab/check", route => route.abort());
    await check("a wounded bird", "did not answer");
    await ui.page.unroute("**/safegen/tab/check");
    await check("a wounded bird", "from 0.01");
    ui.errors.splice(before); // the browser tells of it

    at("nothing");
    await check("", "Write a prompt.");
    seen.nothing = await ui.get(FOUND).innerText();
});
