// SafeGen's part of the page: the badge near Generate, and a status that is up to date.
//
// Nothing is kept here that the page can't tell: the badge is derived anew after every update, so
// elements may come, go and be replaced. The host's "Reload UI" reloads the page.
(function() {
    "use strict";

    const TABS = ["txt2img", "img2img"];
    // The host shows an error under the picture as its class and its text; ours is this class.
    const OURS = "SafeGen: ";
    // In a message, before the technical part.
    const DETAILS = " Details: ";
    // Where the settings ask for a black picture instead, its infotext says so.
    const BLACKED = "SafeGen failed: ";
    // Milliseconds in which changes of several controls, as a pasted infotext makes, are gathered.
    const TOGETHER = 60;
    // Milliseconds after which the controls are looked at again, whatever has happened.
    const EVERY = 1000;
    // Milliseconds after which an answer is not waited for any more.
    const PATIENCE = 5000;

    const find = selector => gradioApp().querySelector(selector);

    // ------------------------------------------------------------------ badge

    /** Where it stands that this tab's last generation was stopped by SafeGen, or null. */
    function failure(tab) {
        if (find(`#${tab}_interrupt`)?.style.display === "block") return null;
        const error = find(`#html_log_${tab} .error`);
        if (error?.textContent.trim().startsWith(OURS)) return error;
        const info = find(`#html_info_${tab}`);
        return info?.textContent.includes(BLACKED) ? info.firstElementChild : null;
    }

    const past = {};  // by tab, the failure that was there when a control was changed

    /** The server's own words on how things stand, or those for a failure seen on this page. */
    function standing(tab) {
        const told = answer(tab)?.dataset;
        if (!told) return null;
        const {safegenState: state, safegenWord: word, safegenLabel: label, safegenMeaning: meaning} = told;
        const failed = failure(tab);
        // What can't run, or is blocked, is told first: that is what is to be mended.
        if (!failed || failed === past[tab] || ["invalid", "blocked"].includes(state)) {
            return {state, word, label, meaning, enforced: told.safegenEnforced};
        }
        const words = {word: told.safegenFailedWord, meaning: told.safegenFailedMeaning};
        return {state: "failed", label: "", enforced: told.safegenEnforced, ...words};
    }

    function makeBadge(tab, box) {
        const badge = document.createElement("div");
        badge.id = `${tab}_safegen_badge`;
        badge.className = "safegen-badge-row";
        const button = document.createElement("button");
        button.type = "button";
        button.className = "safegen-badge";
        button.setAttribute("aria-controls", `script_${tab}_safegen_enable`);
        for (const part of ["name", "word", "label"]) {
            const span = document.createElement("span");
            span.className = `safegen-badge-${part}`;
            button.append(span);
        }
        button.querySelector(".safegen-badge-name").textContent = "SafeGen";
        button.addEventListener("click", () => openAccordion(tab));
        const spoken = document.createElement("span");
        spoken.className = "safegen-spoken";
        spoken.setAttribute("role", "status");
        spoken.setAttribute("aria-live", "polite");
        spoken.textContent = standing(tab).meaning; // what is there at first is not read out
        badge.append(button, spoken);
        box.after(badge);
        return badge;
    }

    function setText(element, text) {
        if (element.textContent !== text) element.textContent = text;
    }

    function updateBadge(tab) {
        const box = find(`#${tab}_generate_box`);
        if (!box || !standing(tab)) return;
        const badge = find(`#${tab}_safegen_badge`) || makeBadge(tab, box);
        // At phone width the host moves the buttons over the pictures, and back.
        if (box.nextElementSibling !== badge) box.after(badge);
        const now = standing(tab);
        const button = badge.querySelector("button");
        if (button.dataset.state !== now.state) button.dataset.state = now.state;
        // Without the label: what is read out changes with the state, not with every dial.
        setText(badge.querySelector(".safegen-spoken"), now.meaning);
        setText(button.querySelector(".safegen-badge-word"), now.word);
        setText(button.querySelector(".safegen-badge-label"), now.label);
        if (button.title !== now.meaning) button.title = now.meaning;
        lockTick(tab, now.enforced);
        fold(find(`#html_log_${tab} .error`));
    }

    /** The box in the accordion's title can't be used while SafeGen is enforced, and says why. */
    function lockTick(tab, reason) {
        const tick = find(`#script_${tab}_safegen_enable-visible-checkbox`);
        if (!tick || tick.disabled === Boolean(reason)) return;
        tick.disabled = Boolean(reason);
        tick.title = reason;
        if (reason) tick.checked = true;
        let note = tick.parentElement.querySelector(".safegen-locked");
        if (!note) {
            note = document.createElement("small");
            note.className = "safegen-locked";
            tick.parentElement.append(note);
        }
        note.textContent = reason;
    }

    /** An error of ours: the sentence for everybody, and the technical part to be opened. */
    function fold(error) {
        const text = error?.textContent.trim() || "";
        if (!text.startsWith(OURS) || error.querySelector("details")) return;
        const [said, more] = text.slice(OURS.length).split(DETAILS);
        if (more === undefined) return;
        const sentence = document.createElement("p");
        sentence.textContent = OURS + said;
        const details = document.createElement("details");
        const title = document.createElement("summary");
        title.textContent = DETAILS.trim().slice(0, -1);
        const reason = document.createElement("p");
        reason.textContent = more;
        details.append(title, reason);
        error.classList.add("safegen-refusal");
        error.replaceChildren(sentence, details);
    }

    function updateBadges() {
        TABS.forEach(updateBadge);
    }

    /** Opens the accordion without ticking it, scrolls to it and puts the focus on its tick. */
    function openAccordion(tab) {
        const accordion = find(`#script_${tab}_safegen_enable`);
        const title = accordion?.querySelector(".label-wrap");
        if (!title) return;
        if (!accordion.offsetParent) { // a tab of extra networks lies over it
            find(`#${tab}_extra_tabs > .tab-nav > button`)?.click();
        }
        const tick = find(`#script_${tab}_safegen_enable-visible-checkbox`);
        if (!title.classList.contains("open")) {
            // The host links the tick with being open until the tick is clicked; this event says
            // that it was, and changes nothing.
            tick?.dispatchEvent(new Event("click"));
            title.click();
        }
        const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
        setTimeout(() => {
            accordion.scrollIntoView({behavior: calm ? "auto" : "smooth", block: "center"});
            (tick || title).focus({preventScroll: true});
        }, 100);
    }

    // ------------------------------------------------------------------ asking the server

    const presses = {};  // by button: the timer, the answer before it, and whether to press it again

    /** Presses a hidden button, once for many reasons at once.
     *
     *  Gradio drops what is pressed while it waits for an answer, so then it is pressed later.
     *  `answer` finds an element that every answer makes anew. */
    function press(button, answer) {
        const now = presses[button] || (presses[button] = {answer});
        if (now.before && now.before === answer() && Date.now() - now.since < PATIENCE) {
            now.again = true;
            return;
        }
        clearTimeout(now.timer);
        now.timer = setTimeout(() => {
            Object.assign(now, {before: answer(), since: Date.now(), again: false});
            find(`#${button}`)?.click();
        }, TOGETHER);
    }

    function pressAgain() {
        for (const [button, now] of Object.entries(presses)) {
            if (now.again && now.before !== now.answer()) press(button, now.answer);
        }
    }

    const answer = tab => find(`#script_${tab}_safegen_summary [data-safegen-state]`);
    const ask = tab => press(`script_${tab}_safegen_changed`, () => answer(tab));

    /** What the server said of a tab since the page was made; shown without an event of gradio's. */
    function show(tab, line) {
        const now = answer(tab);
        const holder = document.createElement("template");
        holder.innerHTML = line;
        const told = holder.content.firstElementChild;
        for (const {name, value} of told.attributes) now.setAttribute(name, value);
        now.replaceChildren(...told.childNodes);
    }

    const arrived = {};  // by tab, what is not on the page yet

    function showArrived() {
        for (const [tab, {line, follow}] of Object.entries(arrived)) {
            if (!answer(tab)) continue;
            delete arrived[tab];
            show(tab, line);
            if (follow) ask(tab);
        }
    }

    /** The page has been loaded: it may be older than what is in force now. */
    async function arrive() {
        try {
            const response = await fetch("./safegen/arrival");
            if (!response.ok) throw new Error(response.statusText);
            Object.assign(arrived, await response.json());
            showArrived();
            updateBadges();
        } catch {
            askAll();
        }
    }

    function askAll() {
        TABS.forEach(ask);
    }

    const known = {};  // by tab, what its controls were seen to hold

    /** Whether controls have changed: then what failed with the old values says nothing about the
     *  new ones. An event for each control would cost gradio more, and a pasted infotext makes no
     *  event that can be heard here. */
    function noticeChanges() {
        for (const tab of TABS) {
            // One element at a time: a list of selectors makes the browser go through the whole page.
            const boxes = ["-checkbox", ""].map(end => find(`#script_${tab}_safegen_enable${end}`));
            const fields = boxes.flatMap(box => box ? [...box.querySelectorAll("input, textarea")] : []);
            if (!fields.length) continue;
            const held = fields.map(field => /checkbox|radio/.test(field.type) ? field.checked : field.value);
            const now = {count: held.length, values: JSON.stringify(held)};
            const before = known[tab];
            known[tab] = now;
            // Fields that come and go are no change.
            if (!before || before.count !== now.count || before.values === now.values) continue;
            past[tab] = failure(tab);
            ask(tab);
        }
    }

    const soon = () => setTimeout(noticeChanges, TOGETHER);

    const logs = {};  // by tab, what is said under the pictures

    /** After a run the server is asked: settings or contexts may have changed meanwhile. */
    function noticeRuns() {
        for (const tab of TABS) {
            const log = find(`#html_log_${tab}`)?.textContent.trim();
            if (log === undefined) continue; // not on the page yet
            if (logs[tab] !== undefined && logs[tab] !== log) ask(tab);
            logs[tab] = log;
        }
    }

    function onVisible() {
        if (!document.hidden) askAll();
    }

    let options; // ours, and which checkpoint is loaded

    /** The host says so when it reads its settings, and they need not have changed. */
    function onOptions() {
        const before = options;
        const names = Object.keys(window.opts).filter(name => /^safegen|^sd_model_checkpoint$/.test(name));
        options = JSON.stringify(names.map(name => window.opts[name]));
        if (before !== undefined && before !== options) askAll();
    }

    // ------------------------------------------------------------------ tabs

    let opened;  // the name of the host's tab that is seen

    const tabName = () => find("#tabs > .tab-nav > button.selected")?.textContent;

    /** Whoever comes back from another tab may have changed something there. The host calls this
     *  while the page is loaded, too: then `arrive` asks, without gradio's events. */
    function onTab() {
        const before = opened;
        opened = tabName();
        if (before && before !== opened) askAll();
    }

    // ------------------------------------------------------------------ listening

    for (const kind of ["input", "change", "click", "keyup"]) document.addEventListener(kind, soon);
    setInterval(() => document.hidden || noticeChanges(), EVERY);
    document.addEventListener("safegen:changed", askAll);
    document.addEventListener("visibilitychange", onVisible);
    onUiLoaded(() => {
        opened = tabName();
        updateBadges();
        arrive();
    });
    onAfterUiUpdate(() => {
        showArrived();
        noticeChanges();
        updateBadges();
        noticeRuns();
        pressAgain();
    });
    onUiTabChange(onTab);
    window.onOptionsChanged?.(onOptions);
})();
