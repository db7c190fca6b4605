// The pane for contexts: write, switch, save, rename, hand on, take in, learn, delete.
const fs = require("fs");
const os = require("os");
const path = require("path");
const {scenario, at} = require("./support.cjs");
const {pane} = require("./panes.cjs");

const ID = "#safegen_context_";

scenario(async(ui, seen, given) => {
    const text = name => ui.get(`${ID}${name} textarea, ${ID}${name} input`);
    const value = name => text(name).inputValue();
    const enabled = name => ui.get(`${ID}${name}`).isEnabled();
    const list = () => ui.page.locator(`${ID}list label`).allInnerTexts();
    const pick = async label => {
        await ui.page.locator(`${ID}list label`).filter({hasText: label}).first().click();
        await ui.says(`${ID}heading`, label);
    };
    // Types as a person does, letter by letter, over what is there.
    const type = async(name, what) => {
        await text(name).click();
        await ui.page.keyboard.press("Control+A");
        await ui.page.keyboard.type(what);
    };
    const listed = async label => ui.until(
        ([where, wanted]) => [...document.querySelectorAll(`${where} label`)].some(
            entry => entry.innerText.trim() === wanted
        ),
        [`${ID}list`, label]
    );
    const unlisted = async label => ui.until(
        ([where, wanted]) => ![...document.querySelectorAll(`${where} label`)].some(
            entry => entry.innerText.trim() === wanted
        ),
        [`${ID}list`, label]
    );
    const offered = async() => {
        await ui.tab("txt2img");
        await ui.unfold();
        await ui.get("#script_txt2img_safegen_context input").click();
        await ui.page.waitForTimeout(300);
        const found = await ui.page.locator("#script_txt2img_safegen_context ul li").allInnerTexts();
        await ui.get("#script_txt2img_safegen_context input").blur();
        await ui.page.waitForTimeout(300);
        return found.map(entry => entry.replace("✓", "").trim());
    };
    // The accordion follows by a question of its own.
    const chosen = async otherThan => {
        const where = "#script_txt2img_safegen_context input";
        await ui.until(([field, was]) => document.querySelector(field).value !== was, [where, otherThan]);
        return ui.get(where).inputValue();
    };
    const take = async file => {
        const [chooser] = await Promise.all([
            ui.page.waitForEvent("filechooser"), ui.get(`${ID}import`).click(),
        ]);
        await chooser.setFiles(file);
    };
    const mine = `Calm ${given.width}`;
    const name = mine.toLowerCase().replace(" ", "-");
    let steps = 0;
    ui.page.on("response", async response => {
        if (/safegen\/tab\/(learn|job)/.test(response.url()) && (await response.text()).includes("\"share\"")) steps += 1;
    });

    at("reading");
    await pane(ui, "Contexts");
    await ui.says(`${ID}heading`, "Violence");
    seen.heading = await ui.get(`${ID}heading`).innerText();
    seen.readOnly = !(await text("safe_text").isEnabled()) && !(await enabled("save"));
    await type("search", "bully");
    await unlisted("Violence");
    seen.searched = await list();
    await type("search", " ");
    await listed("Violence");

    at("duplicate and write");
    await ui.get(`${ID}duplicate`).click();
    await ui.says(`${ID}heading`, "Violence (copy)");
    await type("label", mine);
    await type("safe_text", "a quiet garden in the morning");
    await listed(`${mine} ●`);
    await type("sample", "a knight with a sword and a frog");
    await ui.get(`${ID}neutral textarea`).click();
    await ui.page.keyboard.press("Control+Home");
    await ui.page.keyboard.type("\n");
    await ui.page.keyboard.press("Control+Home");
    await ui.page.keyboard.type("frog => prince");
    await ui.until(where => [...document.querySelectorAll(`${where} ins`)].some(
        entry => entry.innerText === "prince"
    ), `${ID}preview`);
    seen.preview = await ui.page.locator(`${ID}preview ins`).allInnerTexts();
    seen.offeredBefore = await offered();

    at("switch");
    await pane(ui, "Status");
    await pane(ui, "Contexts");
    seen.afterPane = await value("safe_text");
    await pick("Hate");
    seen.other = await value("safe_text");
    await pick(mine);
    seen.afterSwitch = await value("safe_text");
    // With the keyboard alone: the list is one group of radio buttons.
    await ui.page.locator(`${ID}list input:checked`).focus();
    await ui.page.keyboard.press("ArrowUp");
    await ui.until(([where, was]) => !document.querySelector(where)?.innerText.includes(was),
        [`${ID}heading`, mine]);
    seen.byKeyboard = await ui.get(`${ID}heading`).innerText();
    await pick(mine);

    at("save");
    await type("name", name);
    await type("weight", "2");
    await ui.get(`${ID}save`).click();
    await ui.says(`${ID}message`, "Suggested safety weight");
    seen.refusal = await ui.get(`${ID}message`).innerText();
    await type("weight", "0.5");
    await ui.get(`${ID}save`).click();
    await ui.says(`${ID}message`, "Saved.");
    await listed(mine);
    seen.saved = await value("name");
    await ui.shoot("contexts-saved");

    at("followed by the accordion");
    seen.offeredAfter = await offered();
    await ui.choose("#script_txt2img_safegen_context", name);
    await pane(ui, "Contexts");
    await type("name", `${name}-renamed`);
    await listed(`${mine} ●`);
    await ui.get(`${ID}save`).click();
    await ui.says(`${ID}message`, "Saved.");
    seen.chosenAfterRename = await chosen(name);

    at("discard");
    await type("description", "only a thought");
    await listed(`${mine} ●`);
    await ui.get(`${ID}discard`).click();
    await ui.get(`${ID}confirm_discard`).waitFor({state: "visible"});
    await ui.get(`${ID}keep_discard`).click();
    await ui.get(`${ID}confirm_discard`).waitFor({state: "hidden"});
    seen.kept = await value("description");
    await ui.get(`${ID}discard`).click();
    await ui.get(`${ID}really_discard`).click();
    await ui.says(`${ID}message`, "discarded");
    seen.discarded = await value("description");

    at("export");
    const [download] = await Promise.all([
        ui.page.waitForEvent("download"), ui.get(".safegen-export").click(),
    ]);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "safegen-"));
    const file = path.join(folder, download.suggestedFilename());
    await download.saveAs(file);
    seen.exported = {file: path.basename(file), data: JSON.parse(fs.readFileSync(file))};

    at("learn");
    await ui.get("#safegen_context_learning > summary").click();
    await ui.get(`${ID}learn`).click();
    await ui.says(`${ID}message`, "learned from");
    await ui.says(`${ID}learned`, "The loaded model");
    seen.learned = await ui.get(`${ID}learned`).innerText();
    seen.learnedMessage = await ui.get(`${ID}message`).innerText();
    seen.steps = steps;
    await ui.shoot("contexts-learned");

    at("delete");
    await ui.get(`${ID}delete`).click();
    await ui.get(`${ID}really_delete`).waitFor({state: "visible"});
    await ui.get(`${ID}really_delete`).click();
    await ui.says(`${ID}message`, "Deleted.");
    await unlisted(mine);
    seen.chosenAfterDelete = await chosen(`${name}-renamed`);

    at("import");
    await take(file);
    await ui.says(`${ID}message`, "Imported.");
    seen.imported = await value("safe_text");
    const bad = path.join(folder, "bad.json");
    fs.writeFileSync(bad, JSON.stringify({...seen.exported.data, name: "<img src=x>", safe_text: 3}));
    await take(bad);
    await ui.says(`${ID}message`, "bad.json");
    seen.badImport = await ui.get(`${ID}message`).innerText();

    at("reload");
    // A draft is this window's; what is saved is everybody's, also in a page that is loaded later.
    await ui.page.reload({waitUntil: "domcontentloaded"});
    await ui.ready();
    seen.offeredAfterReload = await offered();
    await pane(ui, "Contexts");
    await listed(mine);
    seen.listAfterReload = await list();
    await pick(mine);
    await ui.get(`${ID}delete`).click();
    await ui.get(`${ID}really_delete`).click();
    await ui.says(`${ID}message`, "Deleted.");
    fs.rmSync(folder, {recursive: true});
});
