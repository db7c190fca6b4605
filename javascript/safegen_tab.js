// SafeGen's tab: its panes, which are fetched when it is first opened, and what they ask.
//
// A pane asks by name; the answer says what to show where. What takes long answers with a job, which
// is asked after until it is done.
(function() {
    "use strict";

    const ROUTE = "./safegen/tab";
    const CONTEXT = "safegen_context_";
    // Milliseconds after the last key until what was typed is sent.
    const TYPED = 120;
    // Milliseconds between two questions how far a job has come.
    const POLL = 400;

    const find = selector => gradioApp().querySelector(selector);
    const byId = id => gradioApp().getElementById?.(id) || document.getElementById(id);
    const pause = time => new Promise(done => setTimeout(done, time));
    const place = () => find("#safegen_place");
    const panes = () => byId("safegen_tabs");

    // ------------------------------------------------------------------ asking

    async function fetched(path, given) {
        const response = await fetch(`${ROUTE}${path}`, given);
        if (response.ok) return response;
        const {detail} = await response.json().catch(() => ({}));
        throw new Error(detail?.plain || detail || response.statusText);
    }

    const held = {};  // by place, the HTML that was shown there last

    /** Says that something went wrong, as the server's own messages do. */
    function complain(place, text) {
        delete held[place.id];
        const line = document.createElement("p");
        line.setAttribute("role", "alert");
        line.className = "safegen-message safegen-bad";
        line.textContent = text;
        place.hidden = false;
        place.replaceChildren(line);
    }

    function showProgress(line, job) {
        line.hidden = !job;
        if (!job) {
            line.replaceChildren();
            return;
        }
        const bar = line.querySelector("progress") || document.createElement("progress");
        bar.max = 1;
        bar.value = job.share;
        bar.setAttribute("aria-label", job.said);
        const said = line.querySelector("span") || document.createElement("span");
        if (said.textContent !== job.said) said.textContent = job.said;
        if (!bar.parentElement) line.append(bar, said);
    }

    function put(id, html) {
        const element = byId(id);
        if (!element || held[id] === html) return;
        held[id] = html;
        element.innerHTML = html;
    }

    // What the browser throws where there is no answer at all has no words for people.
    const wordsFor = error => error instanceof TypeError ? find("[data-lost]").dataset.lost : error.message;

    /** The server's answer; null if there is none.
     *
     *  `progress` is where it is shown how far a job has come, `trouble` where what went wrong is. */
    async function ask(name, body, {progress, trouble}) {
        try {
            const headers = {"Content-Type": "application/json"};
            let answer = await (await fetched(
                `/${name}`, {method: "POST", headers, body: JSON.stringify(body)}
            )).json();
            while (answer.job) {
                if (progress) showProgress(progress, answer);
                await pause(POLL);
                answer = await (await fetched(`/job/${answer.job}`)).json();
            }
            if (answer.failed) throw new Error(answer.failed);
            if (progress) showProgress(progress, null);
            return answer;
        } catch (error) {
            if (progress) showProgress(progress, null);
            complain(trouble, wordsFor(error));
            return null;
        }
    }

    function show(answer) {
        for (const [id, html] of Object.entries(answer?.html || {})) put(id, html);
    }

    /** Asks on behalf of a button, which can't be pressed meanwhile. */
    async function press(button, name, body, places) {
        button.disabled = true;
        const answer = await ask(name, body, places);
        button.disabled = false;
        if (answer) show(answer);
        return answer;
    }

    const valueOf = id => find(`#${id} :is(input:not([type=range]), textarea)`).value;
    const ticked = id => [...gradioApp().querySelectorAll(`#${id} input:checked`)].map(box => box.value);

    // ------------------------------------------------------------------ contexts

    const contexts = {drafts: null, shown: ""};
    let last = Promise.resolve();  // one question after the other: each needs the answer before it
    let waiting; // the timer of what was typed

    const fields = () => [...gradioApp().querySelectorAll(".safegen-form .safegen-field")].map(
        label => [label.id.slice(CONTEXT.length), label.querySelector("input, textarea")]
    );
    const written = () => Object.fromEntries(fields().map(([name, field]) => [name, field.value]));

    function askContexts(todo, more = {}) {
        clearTimeout(waiting);
        last = last.then(() => changeContexts(todo, more)).catch(console.error);
        return last;
    }

    async function changeContexts(todo, more) {
        const form = written();
        const answer = await ask("contexts", {
            do: todo, drafts: contexts.drafts, shown: contexts.shown, form,
            search: valueOf(`${CONTEXT}search`), sample: valueOf(`${CONTEXT}sample`),
            strategy: ticked(`${CONTEXT}view`)[0], ...more,
        }, {trouble: byId(`${CONTEXT}message`)});
        if (!answer) {
            tickShown();
            return;
        }
        show(answer);
        const same = contexts.shown === answer.shown;
        Object.assign(contexts, {drafts: answer.drafts, shown: answer.shown});
        const typedMeanwhile = answer.form && same && !["discard", "import"].includes(todo) ?
            fields().filter(([name, field]) => field.value !== form[name]) : [];
        for (const [name, field] of fields()) {
            const kept = typedMeanwhile.some(([other]) => other === name);
            if (answer.form && !kept) field.value = answer.form[name];
            field.disabled = answer.builtIn;
        }
        byId(`${CONTEXT}save`).disabled = byId(`${CONTEXT}discard`).disabled = !answer.unsaved;
        byId(`${CONTEXT}delete`).disabled = answer.builtIn;
        tickShown();
        if (answer.form) ["discard", "delete"].forEach(name => question(name, false));
        if (typedMeanwhile.length) onTyped();
        // In txt2img and img2img the choices follow.
        if (answer.changed) document.dispatchEvent(new CustomEvent("safegen:changed"));
    }

    function tickShown() {
        for (const box of gradioApp().querySelectorAll(`#${CONTEXT}list input`)) {
            box.checked = box.value === contexts.shown;
        }
    }

    /** Something is written in the form, the search or the sample. */
    function onTyped() {
        const said = find(`#${CONTEXT}message .safegen-message`);
        if (said) said.hidden = true; // it is about what stood there before
        clearTimeout(waiting);
        waiting = setTimeout(() => askContexts("typed"), TYPED);
    }

    function question(name, shown) {
        const group = byId(`${CONTEXT}confirm_${name}`);
        if (group.hidden === !shown) return;
        group.hidden = !shown;
        if (shown) byId(`${CONTEXT}keep_${name}`).focus();
        else if (!document.activeElement?.offsetParent) byId(`${CONTEXT}duplicate`).focus();
    }

    async function readFile(input) {
        const [file] = input.files;
        return file ? {name: file.name, text: await file.text()} : null;
    }

    async function learn(button) {
        await last;
        const pairs = await readFile(byId(`${CONTEXT}pairs`));
        button.disabled = true;
        const answer = await ask("learn", {shown: contexts.shown, pairs}, {
            progress: byId(`${CONTEXT}learning_progress`), trouble: byId(`${CONTEXT}message`),
        });
        button.disabled = false;
        // What another context has learned is no news of the one that is shown now.
        if (answer?.shown && answer.shown !== contexts.shown) delete answer.html[`${CONTEXT}learned`];
        show(answer);
    }

    // ------------------------------------------------------------------ checking, status

    async function check() {
        const go = byId("safegen_check_go");
        const found = byId("safegen_check_found");
        if (go.disabled) return;
        await press(go, "check", {
            prompts: valueOf("safegen_check_prompts"),
            by_line: ticked("safegen_check_by_line").length > 0,
            threshold: Number(valueOf("safegen_check_threshold")),
            detectors: ticked("safegen_check_detectors"),
            strategy: ticked("safegen_check_strategy")[0],
        }, {progress: byId("safegen_check_reading"), trouble: found});
        // On a phone it stands below everything else.
        if (found.getBoundingClientRect().top > window.innerHeight - 80) found.scrollIntoView();
    }

    function refreshStatus() {
        press(byId("safegen_status_refresh"), "status", {}, {trouble: byId("safegen_status_report")});
    }

    /** What stands in a field, as the setting's own kind. */
    function read(part) {
        const field = part.querySelector("input[type=number], select");
        if (field) return field.type === "number" ? Number(field.value) : field.value;
        const boxes = [...part.querySelectorAll("input")];
        if (part.matches("label")) return boxes[0].checked;
        const chosen = boxes.filter(box => box.checked).map(box => box.value);
        return boxes[0].type === "radio" ? chosen[0] : chosen;
    }

    function saveDefaults(button) {
        const parts = [...gradioApp().querySelectorAll(".safegen-defaults > *")];
        const {ticked: tick, ...values} = Object.fromEntries(
            parts.map(part => [part.id.replace("safegen_defaults_", ""), read(part)])
        );
        press(button, "defaults", {values, ticked: tick}, {trouble: byId("safegen_defaults_message")});
    }

    const interrupt = () => ask("interrupt", {}, {trouble: byId("safegen_compare_message")});

    // ------------------------------------------------------------------ fitting

    /** Asks for what is missing in the loaded model, and says how it went. */
    async function fit(button, what, progress, said) {
        button.disabled = true;
        const answer = await ask("fit", {what}, {progress, trouble: said});
        button.disabled = false;
        if (answer) {
            said.hidden = false;
            said.innerHTML = answer.said;
        }
        // What could not run before may run now.
        if (answer?.made) document.dispatchEvent(new CustomEvent("safegen:changed"));
    }

    const fitProbe = button => fit(
        button, "probe", byId("safegen_check_fitting"), byId("safegen_check_fitted")
    );

    function mend(button) {
        const line = button.closest("[data-safegen-state]").querySelector(".safegen-progress");
        fit(button, button.dataset.safegenMend, line, line);
    }

    // ------------------------------------------------------------------ panes

    const arrivals = {contexts: () => askContexts("refresh"), status: refreshStatus};

    function openPane(tab) {
        for (const other of panes().querySelectorAll("[role=tab]")) {
            const chosen = other === tab;
            other.setAttribute("aria-selected", String(chosen));
            other.tabIndex = chosen ? 0 : -1;
            byId(other.getAttribute("aria-controls")).hidden = !chosen;
        }
        arrivals[tab.id.replace("safegen_open_", "")]?.();
    }

    function movePane(event, tab) {
        const tabs = [...panes().querySelectorAll("[role=tab]")];
        const goal = {
            ArrowLeft: tabs.indexOf(tab) - 1, ArrowRight: tabs.indexOf(tab) + 1,
            Home: 0, End: tabs.length - 1,
        }[event.key];
        if (goal === undefined) return;
        const next = tabs[(goal + tabs.length) % tabs.length];
        next.focus();
        openPane(next);
        event.preventDefault();
    }

    let fetching = false;
    let seen = false;

    /** The tab may be seen now: its panes are fetched once, and what they show is asked for anew. */
    async function look() {
        const before = seen;
        seen = Boolean(place()?.offsetParent);
        if (!seen || before || fetching) return;
        if (panes()) {
            arrivals[panes().querySelector("[aria-selected=true]").id.replace("safegen_open_", "")]?.();
            return;
        }
        fetching = true;
        try {
            const html = await (await fetched("")).text();
            // The place itself is gradio's.
            place().querySelector(".safegen-note").outerHTML = html;
        } catch (error) {
            seen = false;
            const line = place().querySelector(".safegen-note");
            line.textContent = `SafeGen: ${wordsFor(error)}`;
        } finally {
            fetching = false;
        }
    }

    // ------------------------------------------------------------------ listening

    const clicks = {
        [`${CONTEXT}new`]: () => askContexts("new"),
        [`${CONTEXT}reload`]: () => askContexts("reload"),
        [`${CONTEXT}save`]: () => askContexts("save"),
        [`${CONTEXT}duplicate`]: () => askContexts("duplicate"),
        [`${CONTEXT}import`]: () => byId(`${CONTEXT}import_file`).click(),
        [`${CONTEXT}learn`]: learn,
        safegen_check_go: check,
        safegen_check_fit: fitProbe,
        safegen_defaults_save: saveDefaults,
        safegen_status_refresh: refreshStatus,
        safegen_compare_interrupt: interrupt,
        safegen_compare_skip: interrupt,
    };
    for (const name of ["discard", "delete"]) {
        clicks[`${CONTEXT}${name}`] = () => question(name, true);
        clicks[`${CONTEXT}keep_${name}`] = () => question(name, false);
        clicks[`${CONTEXT}really_${name}`] = () => askContexts(name);
    }

    function onClick(event) {
        const mender = event.target.closest?.(".safegen-mend");
        if (mender) mend(mender);
        const button = event.target.closest?.("#safegen_tabs button");
        if (!button) return;
        if (button.matches("[role=tab]")) openPane(button);
        else clicks[button.id]?.(button);
    }

    function onKeyDown(event) {
        const tab = event.target.closest?.("#safegen_tabs [role=tab]");
        if (tab) movePane(event, tab);
        if (event.key === "Enter" && event.shiftKey && event.target.closest?.("#safegen_check_prompts")) {
            event.preventDefault();
            check();
        }
    }

    /** The two halves of a slider hold the same. */
    function onInput(event) {
        const slider = event.target.closest?.("#safegen_tabs .safegen-slider");
        for (const half of slider?.querySelectorAll("input") || []) {
            if (half !== event.target) half.value = event.target.value;
        }
        if (event.target.matches?.("#safegen_tab_contexts :is(textarea, input[type=text])")) onTyped();
    }

    async function onChange(event) {
        const field = event.target;
        if (field.matches?.(`#${CONTEXT}list input`)) askContexts("pick", {picked: field.value});
        if (field.matches?.(`#${CONTEXT}view input`)) askContexts("refresh");
        if (field.id === `${CONTEXT}import_file`) {
            const file = await readFile(field);
            field.value = ""; // the same file may be taken once more
            if (file) askContexts("import", {file, replace: ticked(`${CONTEXT}replace`).length > 0});
        }
    }

    document.addEventListener("click", onClick);
    document.addEventListener("keydown", onKeyDown);
    document.addEventListener("input", onInput);
    document.addEventListener("change", onChange);
    // It has no size while another tab is seen.
    onUiLoaded(() => place() && new ResizeObserver(look).observe(place()));
})();
