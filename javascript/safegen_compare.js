// The comparison in SafeGen's tab: its slider, its strip of weights, its progress.
//
// It listens on the document, so elements may come, go and be replaced.
(function() {
    "use strict";

    const find = selector => gradioApp().querySelector(selector);

    function setText(element, text) {
        if (element.textContent !== text) element.textContent = text;
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
        // Nothing is compared with itself.
        const single = weight === compare.dataset.before;
        compare.querySelector(".safegen-stage").classList.toggle("safegen-single", single);
        if (map) {
            compare.querySelector(".safegen-map").src = map;
        } else {
            compare.querySelector(".safegen-map").removeAttribute("src");
        }
        showMap(compare);
        setText(compare.querySelector(".safegen-tag-after"), name);
        setText(compare.querySelector(".safegen-caption"), caption);
        setInfotext(infotext);
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
        setText(button.firstElementChild, veil ? button.dataset.show : button.dataset.blur);
    }

    // ------------------------------------------------------------------ asking and answering

    function showInterrupt(shown) {
        const button = find("#safegen_compare_interrupt");
        if (button) button.style.display = shown ? "block" : "none";
    }

    const written = name => find(`#safegen_compare_${name} :is(input, textarea)`).value;

    /** What gradio is to send before txt2img's own values: the task's id, the prompt, the weights. */
    window.safegenCompares = () => {
        const task = randomId();
        showInterrupt(true);
        // No gallery is given: a live preview would show the original, and nothing would blur it.
        requestProgress(task, find("#safegen_compare_stage"), null, () => showInterrupt(false));
        return [task, written("prompt"), written("weights")];
    };

    /** The infotext that "Send to txt2img" sends. */
    function setInfotext(text) {
        const field = find("#safegen_compare_infotext :is(textarea, input)");
        field.value = text;
        field.dispatchEvent(new Event("input", {bubbles: true}));
        find("#safegen_compare_send").disabled = !text;
    }

    let taken;  // which answer was taken last: gradio makes its elements anew as it likes

    /** Gradio has put an answer where nobody sees it. A refusal leaves the last comparison. */
    function takeAnswer() {
        const answer = find("#safegen_compare_answer")?.querySelector("template, .error");
        if (!answer) return;
        const which = answer.dataset.safegenAsked || answer.textContent;
        if (which === taken) return;
        taken = which;
        const [said, shown] = answer.content?.cloneNode(true).children || [answer.cloneNode(true)];
        find("#safegen_compare_message").replaceChildren(said);
        if (!shown?.firstChild) return;
        find("#safegen_compare_stage").replaceChildren(...shown.childNodes);
        const chosen = find("#safegen_compare_stage .safegen-thumb[aria-checked=true]");
        setInfotext(chosen?.dataset.infotext || "");
    }

    // ------------------------------------------------------------------ listening

    function onClick(event) {
        const thumb = event.target.closest?.(".safegen-thumb[role=radio]");
        if (thumb) choose(thumb);
        const button = event.target.closest?.(".safegen-reveal");
        if (button) reveal(button);
        if (event.target.closest?.("#safegen_compare_generate")) find("#safegen_compare_ask").click();
        if (event.target.closest?.("#safegen_compare_send")) find("#safegen_compare_paste").click();
    }

    function onKeyDown(event) {
        const handle = event.target.closest?.(".safegen-handle");
        if (handle) moveSplit(event, handle);
        const thumb = event.target.closest?.(".safegen-thumb[role=radio]");
        if (thumb) moveChoice(event, thumb);
    }

    function onChange(event) {
        if (event.target.matches?.(".safegen-show-map")) showMap(event.target.closest(".safegen-compare"));
    }

    document.addEventListener("pointerdown", onPointerDown);
    document.addEventListener("pointermove", onPointerMove);
    document.addEventListener("click", onClick);
    document.addEventListener("keydown", onKeyDown);
    document.addEventListener("change", onChange);
    document.addEventListener("input", onChange);
    onAfterUiUpdate(takeAnswer);
})();
