// The pane for what the controls begin with: kept, refused, and put back.
const {scenario, at} = require("./support.cjs");
const {pane} = require("./panes.cjs");

const ID = "#safegen_defaults_";

scenario(async(ui, seen) => {
    const number = name => `${ID}${name} input[type=number]`;
    const save = async said => {
        await ui.get(`${ID}save`).click();
        await ui.says(`${ID}message`, said);
    };
    await pane(ui, "Defaults");
    seen.before = await ui.get(number("weight")).inputValue();
    seen.dropdown = await ui.get(`${ID}context select, select${ID}context`).evaluate(field => getComputedStyle(field).appearance);

    at("two that do not fit together");
    await ui.fill(number("tau"), 0.9);
    await ui.fill(number("end"), 0.5);
    await save("Guard until");
    seen.said = await ui.get(`${ID}message`).innerText();

    at("kept");
    await ui.fill(number("tau"), 0);
    await ui.fill(number("end"), 1);
    await ui.fill(number("weight"), 0.8);
    await ui.get(`${ID}curve label:has-text("cosine")`).click();
    await ui.get(`${ID}hires input`).uncheck();
    await save("Saved.");
    await ui.page.reload({waitUntil: "domcontentloaded"});
    await ui.ready();
    await pane(ui, "Defaults");
    seen.kept = {
        weight: await ui.get(number("weight")).inputValue(),
        curve: await ui.get(`${ID}curve input:checked`).inputValue(),
        hires: await ui.get(`${ID}hires input`).isChecked(),
        context: await ui.get(`${ID}context select`).inputValue(),
    };

    at("put back");
    await ui.fill(number("weight"), seen.before);
    await ui.get(`${ID}curve label:has-text("constant")`).click();
    await ui.get(`${ID}hires input`).check();
    await save("Saved.");
});
