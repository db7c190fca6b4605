// Every pane in one width and theme: nothing sticks out, everything has a name and can be read.
const {scenario, at} = require("./support.cjs");
const {pane, unnamed, faint} = require("./panes.cjs");

scenario(async(ui, seen) => {
    const look = async name => {
        at(name);
        seen[name] = {
            sticksOut: await ui.sticksOut("#tab_safegen"),
            scrolls: await ui.page.evaluate(
                () => document.documentElement.scrollWidth > window.innerWidth
            ),
            unnamed: await unnamed(ui),
            faint: await faint(ui),
        };
        await ui.get("#tab_safegen").scrollIntoViewIfNeeded();
        await ui.shoot(`tab-${name}`, "#tab_safegen");
    };
    await pane(ui, "Contexts");
    await ui.says("#safegen_context_heading", "Violence");
    await look("contexts");
    await ui.get("#safegen_context_new").click();
    await ui.says("#safegen_context_heading", "New context");
    await ui.get("#safegen_context_save").click();
    await ui.says("#safegen_context_message", "Label");
    await ui.get("#safegen_context_discard").click();
    await ui.get("#safegen_context_really_discard").waitFor({state: "visible"});
    await ui.get("#safegen_context_learning > summary").click();
    await look("contexts-new");
    await pane(ui, "Check a prompt");
    await ui.fill("#safegen_check_prompts textarea", [
        "a bloody knight with a sword on a battlefield, oil painting",
        "a knight on a meadow, oil painting",
        "portrait of a n4ked woman, (bl:1.2)ood on her face",
    ].join("\n"));
    await ui.get("#safegen_check_go").click();
    await ui.says("#safegen_check_found", "Unsafe: ");
    await look("check");
    await pane(ui, "Defaults");
    await look("defaults");
    await pane(ui, "Status");
    await ui.says("#safegen_status_report", "Independent streams");
    await look("status");
});
