// What every scenario shares: the browser, and ways to use the page as a person does.
//
// A scenario is a file of its own that calls `scenario(steps)`. It is started as
//   node NAME.cjs '{"url": …, "width": 1400, "theme": "light", "folder": …, …}'
// and prints one JSON object: what its steps put into `seen`, and what went wrong on the page.
// playwright-core is found through NODE_PATH or in the repository's node_modules, the browser
// through CHROMIUM.
const {chromium} = require("playwright-core");
const path = require("path");

const SLOW = 45000; // a page that has not answered by then does not
const FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

let reached = "start";

/** Tells whoever reads stderr how far it came. */
function at(station) {
    reached = station;
    console.error(`${new Date().toISOString()} ${station}`);
}

/** A WebUI's page in one browser window. */
class WebUI {
    constructor(page, given) {
        this.page = page;
        this.given = given;
        this.errors = []; // exceptions and console errors, with the file they come from
        this.refused = []; // local requests that were answered with an error
        this.generations = []; // gallery events of the server: what each generation returned
        this.events = []; // gradio's events that asked the server, by their numbers
        page.setDefaultTimeout(SLOW);
        page.on("request", request => {
            const event = /"fn_index":(\d+)/.exec(request.postData() || "");
            if (event) this.events.push(Number(event[1]));
        });
        page.on("pageerror", error => this.errors.push(`${reached}: ${error.stack || error}`));
        page.on("console", message => {
            if (message.type() !== "error") return;
            this.errors.push(`${reached}: ${message.text()} (${message.location().url})`);
        });
        page.on("response", response => {
            if (response.status() >= 400) this.refused.push(`${response.status()} ${response.url()}`);
        });
        page.on("websocket", socket => socket.on("framereceived", frame => this._hear(frame)));
    }

    /** Gradio 3 answers through websockets; a generation's answer has its time in it. */
    _hear({payload}) {
        if (typeof payload !== "string" || !payload.includes("process_completed")) return;
        const data = JSON.parse(payload).output?.data;
        if (Array.isArray(data) && payload.includes("Time taken:")) this.generations.push(data);
    }

    /** Opens the page and waits until it can be used. */
    async open() {
        const theme = this.given.theme || "light";
        await this.page.goto(`${this.given.url}/?__theme=${theme}`, {waitUntil: "domcontentloaded"});
        await this.ready();
    }

    /** Waits until the page can be used, after `open` or a reload. */
    async ready() {
        await this.page.waitForSelector(this.tick("txt2img"), {state: "attached"});
        if (this.given.bare) await this.until(() => window.onAfterUiUpdate && document.querySelector(".safegen-badge"));
        await this.page.waitForTimeout(1500); // Svelte mounts the rest of the page
    }

    /** The elements of ours whose events have asked the server so far. */
    async asked() {
        return this.page.evaluate(events => events.flatMap(
            event => window.gradio_config.dependencies[event].targets
        ).map(target => [target].flat()[0]).map(id => window.gradio_config.components.find(
            component => component.id === id
        )?.props.elem_id || "").filter(name => name.includes("safegen")), this.events);
    }

    /** The first element of a selector, as a locator. */
    get(selector) {
        return this.page.locator(selector).first();
    }

    /** Waits until `check(argument)` holds in the page. */
    async until(check, argument) {
        await this.page.waitForFunction(check, argument, {timeout: SLOW, polling: 100});
    }

    /** Waits until an element shows this text. */
    async says(selector, text) {
        await this.until(
            ([where, wanted]) => document.querySelector(where)?.innerText.includes(wanted),
            [selector, text]
        );
    }

    /** Types a value into a text field, a number field or the number of a slider. */
    async fill(selector, value) {
        const input = this.get(selector);
        await input.fill(String(value));
        await input.dispatchEvent("change");
        await input.blur();
    }

    /** Chooses an entry of a dropdown by its text. */
    async choose(selector, text) {
        await this.get(`${selector} input`).click();
        await this.get(`${selector} ul li >> text="${text}"`).click();
        await this.page.waitForTimeout(200);
    }

    /** Opens one of the WebUI's own tabs. */
    async tab(name) {
        await this.page.locator("#tabs > .tab-nav > button").filter({hasText: name}).first().click();
        await this.page.waitForTimeout(300);
    }

    /** What a person clicks to tick SafeGen: the host's own box, which stands for gradio's. */
    tick(tab) {
        const box = `#script_${tab}_safegen_enable`;
        return this.given.bare ? `${box}-checkbox input` : `${box}-visible-checkbox`;
    }

    /** Whether SafeGen is ticked. */
    async enabled(tab = "txt2img") {
        return this.get(`#script_${tab}_safegen_enable-checkbox input`).evaluate(box => box.checked);
    }

    /** Ticks SafeGen or takes the tick off, by its box; that leaves the accordion as it is. */
    async toggle(wanted, tab = "txt2img") {
        if (await this.enabled(tab) === wanted) return;
        await this.get(this.tick(tab)).click();
        await this.until(
            ([selector, on]) => document.querySelector(selector)?.checked === on,
            [`#script_${tab}_safegen_enable-checkbox input`, wanted]
        );
    }

    /** Opens the accordion by its title, which the host links with its tick; the bare page doesn't. */
    async unfold(tab = "txt2img") {
        const title = this.get(`#script_${tab}_safegen_enable > .label-wrap`);
        if (!(await title.evaluate(element => element.classList.contains("open")))) await title.click();
        await this.get(`#script_${tab}_safegen_weight`).waitFor({state: "visible"});
        if (this.given.bare) await this.toggle(true, tab);
    }

    /** Opens the accordion and a group of advanced settings in it: when, how, detection. */
    async advanced(group = "when", tab = "txt2img") {
        await this.unfold(tab);
        const box = `#script_${tab}_safegen_advanced_${group}`;
        const title = this.get(`${box} > .label-wrap`);
        if (!(await title.evaluate(element => element.classList.contains("open")))) await title.click();
        await this.get(`${box} .safegen-control`).waitFor({state: "visible"});
    }

    /** Fills what makes a small quick picture in txt2img. */
    async small(more = {}) {
        const fields = {width: 128, height: 128, steps: 4, cfg_scale: 4, seed: 7, ...more};
        for (const [name, value] of Object.entries(fields)) {
            const kind = name === "seed" ? "input" : "input[type=number]";
            await this.fill(`#txt2img_${name} ${kind}`, value);
        }
    }

    /** Clicks a button and waits for the answer of the generation that it starts. */
    async await(selector, meanwhile = async() => {}) {
        const before = this.generations.length;
        await this.get(selector).click();
        await meanwhile();
        const started = Date.now();
        while (this.generations.length === before) {
            if (Date.now() - started > SLOW) throw new Error(`no answer to ${selector}`);
            await this.page.waitForTimeout(100);
        }
    }

    /** Clicks Compare; `meanwhile` is done while the pictures are made. */
    async compare(meanwhile) {
        await this.await("#safegen_compare_generate", meanwhile);
        await this.until(
            () => document.querySelector("#safegen_compare_interrupt")?.style.display !== "block"
        );
        await this.page.waitForTimeout(500);
    }

    /** Clicks Generate; what is under the picture when it is done. */
    async generate(tab = "txt2img") {
        await this.await(`#${tab}_generate`);
        await this.until(
            name => document.querySelector(`#${name}_interrupt`)?.style.display !== "block", tab
        );
        await this.page.waitForTimeout(500); // until the page shows it
        return this.info(tab);
    }

    /** The text under the picture. */
    async info(tab = "txt2img") {
        return this.page.evaluate(
            name => document.querySelector(`#html_info_${name}`)?.innerText || "", tab
        );
    }

    /** Pastes an infotext by the button beside the prompt. */
    async paste(text) {
        await this.fill("#txt2img_prompt textarea", text);
        await this.get("#paste").click();
        await this.page.waitForTimeout(1500);
    }

    /** A screenshot of the window, or of one element, with this width and theme in its name. */
    async shoot(name, selector) {
        const file = path.join(this.given.folder, `${name}-${this.given.width}-${this.given.theme}.png`);
        const target = selector ? this.get(selector) : this.page;
        await target.screenshot({path: file, animations: "disabled"});
        return file;
    }

    /** Nothing is wider than the window: what sticks out, by id or class. */
    async sticksOut(selector) {
        return this.page.evaluate(where => {
            const wide = [];
            for (const root of document.querySelectorAll(where)) {
                for (const element of [root, ...root.querySelectorAll("*")]) {
                    const box = element.getBoundingClientRect();
                    if (box.width && (box.right > window.innerWidth + 1 || box.left < -1)) {
                        wide.push(element.id || String(element.className));
                    }
                }
            }
            return wide;
        }, selector);
    }
}

/** Runs a scenario's steps on a fresh page and prints what they saw. */
function scenario(steps) {
    const given = {width: 1400, height: 1000, theme: "light", folder: ".", ...JSON.parse(process.argv[2])};
    const run = async() => {
        const browser = await chromium.launch({
            executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: FLAGS,
        });
        const seen = {};
        let ui;
        try {
            const context = await browser.newContext({
                viewport: {width: given.width, height: given.height},
                hasTouch: given.width < 600,
                colorScheme: given.theme,
                deviceScaleFactor: given.scale || 1,
            });
            const page = await context.newPage();
            // Gradio asks for fonts from elsewhere; nothing may leave the machine, and nothing
            // need wait for it.
            const local = new URL(given.url).hostname;
            await page.route("**/*", route =>
                new URL(route.request().url()).hostname === local ? route.continue() : route.abort());
            ui = new WebUI(page, given);
            at("open");
            await ui.open();
            await steps(ui, seen, given);
        } catch (error) {
            if (ui) {
                at(`failed; see ${await ui.shoot("failed").catch(String)}`);
                console.error(ui.errors.join("\n"));
            }
            throw error;
        } finally {
            await browser.close();
        }
        console.log(JSON.stringify({...seen, errors: ui.errors, refused: ui.refused}));
    };
    run().catch(error => {
        console.error(error);
        process.exit(1);
    });
}

module.exports = {scenario, at, SLOW};
