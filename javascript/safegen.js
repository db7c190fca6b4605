// SafeGen's part of the page: the badge near Generate, the comparison's slider and strip, and a
// status that is up to date.
//
// Nothing is kept here that the page can't tell: the badge is derived anew after every update, and
// the comparison listens on the document, so elements may come, go and be replaced. The host's
// "Reload UI" reloads the page.
(function() {
    "use strict";

    const TABS = ["txt2img", "img2img"];
    const WORDS = {off: "off", on: "on", auto: "Auto", enforced: "enforced", failed: "failed"};
    const MEANING = {
        off: "SafeGen is off.",
        on: "SafeGen guards the next pictures.",
        auto: "SafeGen reads each prompt and guards those that need it.",
        enforced: "The operator enforces SafeGen on every picture.",
        failed: "SafeGen stopped the last generation; the message is under the picture.",
    };
    // The host shows an error under the picture as its kind and its message; all of ours begin so.
    const OUR_ERROR = /^\w+: SafeGen: /;
    // Where the settings ask for a black picture instead, the message is a comment.
    const BLACKED = "SafeGen: stopped this picture";
    // Milliseconds in which changes of several controls, as a pasted infotext makes, are gathered.
    const TOGETHER = 60;

    const find = selector => gradioApp().querySelector(selector);

    // ------------------------------------------------------------------ badge

    /** Whether this tab's last generation was stopped by SafeGen, and no other has begun. */
    function failed(tab) {
        if (find(`#${tab}_interrupt`)?.style.display === "block") return false;
        const log = find(`#html_log_${tab}`);
        const error = log?.querySelector(".error")?.textContent.trim() || "";
        return OUR_ERROR.test(error) || Boolean(log?.textContent.includes(BLACKED));
    }

    /** State and label as the server has worked them out, corrected by the tick. */
    function stateOf(tab) {
        const told = find(`#script_${tab}_safegen_summary [data-safegen-state]`)?.dataset || {};
        const ticked = find(`#script_${tab}_safegen_enable-checkbox input`)?.checked;
        let state = told.safegenState || (ticked ? "on" : "off");
        let label = told.safegenLabel || "";
        if (state !== "enforced") {
            if (!ticked) {
                state = "off";
                label = "";
            } else if (state === "off") {
                state = "on"; // ticked before the server knew
                label = "";
            }
        }
        if (failed(tab)) return {state: "failed", label: ""};
        return {state, label};
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
        spoken.textContent = MEANING[stateOf(tab).state]; // what is there at first is not read out
        badge.append(button, spoken);
        box.after(badge);
        return badge;
    }

    function setText(element, text) {
        if (element.textContent !== text) element.textContent = text;
    }

    function updateBadge(tab) {
        const box = find(`#${tab}_generate_box`);
        if (!box || !find(`#script_${tab}_safegen_enable`)) return;
        const badge = find(`#${tab}_safegen_badge`) || makeBadge(tab, box);
        // At phone width the host moves the buttons over the pictures, and back.
        if (box.nextElementSibling !== badge) box.after(badge);
        const {state, label} = stateOf(tab);
        const button = badge.querySelector("button");
        if (button.dataset.state !== state) button.dataset.state = state;
        // Without the label: what is read out changes with the state, not with every dial.
        setText(badge.querySelector(".safegen-spoken"), MEANING[state]);
        setText(button.querySelector(".safegen-badge-word"), WORDS[state] || state);
        setText(button.querySelector(".safegen-badge-label"), label);
        if (button.title !== MEANING[state]) button.title = MEANING[state];
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

    // ------------------------------------------------------------------ one request for many changes

    const waiting = new Map();

    /** Controls have changed: their tab's hidden button is pressed once, when no more do. */
    function onChanged(event) {
        const {button} = event.detail;
        clearTimeout(waiting.get(button));
        waiting.set(button, setTimeout(() => find(`#${button}`)?.click(), TOGETHER));
    }

    // ------------------------------------------------------------------ slider

    function setSplit(stage, percent) {
        const share = Math.round(Math.min(100, Math.max(0, percent)));
        stage.style.setProperty("--safegen-split", `${share}%`);
        const handle = stage.querySelector(".safegen-handle");
        handle.setAttribute("aria-valuenow", share);
        handle.setAttribute("aria-valuetext", `${share}%`);
    }

    function splitOf(stage) {
        return Number(stage.querySelector(".safegen-handle").getAttribute("aria-valuenow"));
    }

    function follow(stage, event) {
        const box = stage.getBoundingClientRect();
        setSplit(stage, 100 * (event.clientX - box.left) / box.width);
    }

    function onPointerDown(event) {
        const stage = event.target.closest?.(".safegen-stage");
        if (!stage || event.button > 0 || event.target.closest(".safegen-reveal")) return;
        stage.setPointerCapture(event.pointerId);
        stage.querySelector(".safegen-handle").focus({preventScroll: true});
        follow(stage, event);
        event.preventDefault();
    }

    function onPointerMove(event) {
        const stage = event.target.closest?.(".safegen-stage");
        if (stage?.hasPointerCapture(event.pointerId)) follow(stage, event);
    }

    function moveSplit(event, handle) {
        const stage = handle.closest(".safegen-stage");
        const now = splitOf(stage);
        const goal = {
            ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2,
            PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100,
        }[event.key];
        if (goal === undefined) return;
        setSplit(stage, goal);
        event.preventDefault();
    }

    // ------------------------------------------------------------------ strip of weights

    function showMap(compare) {
        const map = compare.querySelector(".safegen-map");
        const wanted = compare.querySelector(".safegen-show-map").checked;
        map.hidden = !(wanted && map.getAttribute("src"));
    }

    function choose(thumb) {
        const compare = thumb.closest(".safegen-compare");
        for (const other of compare.querySelectorAll(".safegen-thumb[role=radio]")) {
            other.setAttribute("aria-checked", String(other === thumb));
            other.tabIndex = other === thumb ? 0 : -1;
        }
        const {name, source, caption, infotext, map, weight} = thumb.dataset;
        const after = compare.querySelector(".safegen-after");
        after.src = source;
        after.alt = name;
        after.classList.toggle("safegen-original", weight === "0");
        if (map) {
            compare.querySelector(".safegen-map").src = map;
        } else {
            compare.querySelector(".safegen-map").removeAttribute("src");
        }
        showMap(compare);
        setText(compare.querySelector(".safegen-tag-after"), name);
        setText(compare.querySelector(".safegen-caption"), caption);
        const field = find("#safegen_compare_infotext textarea, #safegen_compare_infotext input");
        if (field) {
            field.value = infotext;
            field.dispatchEvent(new Event("input", {bubbles: true}));
        }
    }

    function moveChoice(event, thumb) {
        const step = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
        if (!step) return;
        const all = [...thumb.parentElement.querySelectorAll(".safegen-thumb[role=radio]")];
        const next = all[(all.indexOf(thumb) + step + all.length) % all.length];
        choose(next);
        next.focus();
        event.preventDefault();
    }

    function reveal(button) {
        const compare = button.closest(".safegen-compare");
        const veil = !compare.querySelector(".safegen-stage").classList.contains("safegen-veiled");
        const original = ".safegen-stage, .safegen-thumb[data-weight='0']";
        for (const element of compare.querySelectorAll(original)) {
            element.classList.toggle("safegen-veiled", veil);
        }
        setText(button.firstElementChild, veil ? "Show the original" : "Blur the original");
    }

    // ------------------------------------------------------------------ progress

    function showInterrupt(shown) {
        const button = find("#safegen_compare_interrupt");
        if (button) button.style.display = shown ? "block" : "none";
    }

    function onComparing(event) {
        const place = find("#safegen_compare_stage");
        if (!place) return;
        showInterrupt(true);
        // No gallery is given: a live preview would show the original, and nothing would blur it.
        requestProgress(event.detail.task, place, null, () => showInterrupt(false));
    }

    // ------------------------------------------------------------------ status

    /** Whoever comes back to the SafeGen tab reads there what has happened meanwhile. */
    function onTab() {
        const refresh = find("#safegen_status_refresh");
        if (refresh?.offsetParent) refresh.click();
    }

    // ------------------------------------------------------------------ listening

    function onClick(event) {
        const thumb = event.target.closest?.(".safegen-thumb[role=radio]");
        if (thumb) choose(thumb);
        const button = event.target.closest?.(".safegen-reveal");
        if (button) reveal(button);
    }

    function onKeyDown(event) {
        const handle = event.target.closest?.(".safegen-handle");
        if (handle) moveSplit(event, handle);
        const thumb = event.target.closest?.(".safegen-thumb[role=radio]");
        if (thumb) moveChoice(event, thumb);
    }

    function onChange(event) {
        if (event.target.matches?.(".safegen-show-map")) showMap(event.target.closest(".safegen-compare"));
        if (event.target.closest?.("[id*='_safegen_enable']")) updateBadges();
    }

    document.addEventListener("pointerdown", onPointerDown);
    document.addEventListener("pointermove", onPointerMove);
    document.addEventListener("click", onClick);
    document.addEventListener("keydown", onKeyDown);
    document.addEventListener("change", onChange);
    document.addEventListener("input", onChange);
    document.addEventListener("safegen:comparing", onComparing);
    document.addEventListener("safegen:changed", onChanged);
    onUiLoaded(updateBadges);
    onAfterUiUpdate(updateBadges);
    onUiTabChange(onTab);
})();
