// The pane that says how things stand, before and after a generation.
const {scenario, at} = require("./support.cjs");
const {pane} = require("./panes.cjs");

const REPORT = "#safegen_status_report";

scenario(async(ui, seen) => {
    await pane(ui, "Status");
    await ui.says(REPORT, "Independent streams");
    seen.before = await ui.get(REPORT).innerText();

    at("guarded picture");
    await ui.tab("txt2img");
    await ui.fill("#txt2img_prompt textarea", "a bloody red ball on the beach, on the left");
    await ui.small();
    await ui.unfold();
    await ui.generate();
    await pane(ui, "Contexts");
    await pane(ui, "Status");
    await ui.says(REPORT, "that had to be");
    seen.guarded = await ui.get(REPORT).innerText();

    at("picture without a guard");
    await ui.tab("txt2img");
    await ui.toggle(false);
    await ui.generate();
    await ui.tab("SafeGen"); // which is enough: the pane was open before
    await ui.says(REPORT, "SafeGen was off");
    seen.off = await ui.get(REPORT).innerText();
});
