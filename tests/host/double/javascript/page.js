/* What the WebUI's page offers to extensions' scripts, as far as SafeGen and its tests use it. */

const uiLoaded = [];
const uiAfterUpdate = [];
const uiTabChange = [];

function gradioApp() {
    return document;
}

function onUiLoaded(callback) {
    uiLoaded.push(callback);
}

function onAfterUiUpdate(callback) {
    uiAfterUpdate.push(callback);
}

function onUiTabChange(callback) {
    uiTabChange.push(callback);
}

function runAll(callbacks) {
    for (const callback of callbacks) {
        try {
            callback();
        } catch (error) {
            console.error("error running callback", callback, error);
        }
    }
}

function randomId() {
    return `task(${Math.random().toString(36).slice(2, 12)})`;
}

function switch_to_txt2img() {
    document.querySelector("#tabs > .tab-nav > button").click();
}

/** Shows a bar before `place` until the task is over. */
function requestProgress(task, place, gallery, atEnd) {
    const bar = document.createElement("div");
    bar.className = "progressDiv";
    const inner = document.createElement("div");
    inner.className = "progress";
    bar.append(inner);
    place.parentNode.insertBefore(bar, place);
    let wasActive = false;
    const asked = Date.now();
    const ask = async() => {
        const headers = {"Content-Type": "application/json"};
        const body = JSON.stringify({id_task: task});
        const reply = await fetch("./internal/progress", {method: "POST", headers, body});
        const state = await reply.json();
        wasActive = wasActive || state.active;
        if (state.completed || (wasActive && !state.active) || Date.now() - asked > 600000) {
            bar.remove();
            atEnd();
            return;
        }
        inner.style.width = `${100 * state.progress}%`;
        inner.textContent = `${state.textinfo || ""} ${Math.round(100 * state.progress)}%`;
        setTimeout(ask, 100);
    };
    ask();
}

function submitTab(tab, given) {
    const buttons = shown => {
        document.getElementById(`${tab}_interrupt`).style.display = shown ? "block" : "none";
    };
    const task = randomId();
    buttons(true);
    requestProgress(task, document.getElementById(`${tab}_gallery`), null, () => buttons(false));
    return [task, ...Array.from(given).slice(1)];
}

function submit() {
    return submitTab("txt2img", arguments);
}

function submit_img2img() {
    return submitTab("img2img", arguments);
}

/** An accordion follows its hidden checkbox, and is followed by it until its own box is clicked. */
function setUpAccordion(accordion) {
    const title = accordion.querySelector(".label-wrap");
    const hidden = document.querySelector(`#${accordion.id}-checkbox input`);
    const isOpen = () => title.classList.contains("open");
    let linked = true;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.id = `${accordion.id}-visible-checkbox`;
    box.className = hidden.className;
    box.checked = isOpen();
    title.querySelector("span").prepend(box);
    accordion.followBox = () => {
        if (linked && isOpen() !== box.checked) title.click();
        hidden.checked = box.checked;
        hidden.dispatchEvent(new Event("input", {bubbles: true}));
        hidden.dispatchEvent(new Event("change", {bubbles: true}));
    };
    accordion.visibleBox = box;
    new MutationObserver(() => {
        if (!linked) return;
        box.checked = isOpen();
        accordion.followBox();
    }).observe(title, {attributes: true, attributeFilter: ["class"]});
    box.addEventListener("click", event => {
        linked = false;
        event.stopPropagation();
    });
    box.addEventListener("input", accordion.followBox);
}

function inputAccordionChecked(id, checked) {
    const accordion = document.getElementById(id);
    if (!accordion?.visibleBox || accordion.visibleBox.checked === checked) return;
    accordion.visibleBox.checked = checked;
    accordion.followBox();
}

document.addEventListener("DOMContentLoaded", () => {
    let loaded = false;
    let waiting;
    let tab = null;
    new MutationObserver(() => {
        if (!loaded && document.querySelector("#txt2img_prompt textarea")) {
            loaded = true;
            document.querySelectorAll(".input-accordion").forEach(setUpAccordion);
            runAll(uiLoaded);
        }
        const chosen = document.querySelector("#tabs > .tab-nav > button.selected");
        if (chosen && chosen !== tab) {
            tab = chosen;
            runAll(uiTabChange);
        }
        clearTimeout(waiting);
        waiting = setTimeout(() => runAll(uiAfterUpdate), 200);
    }).observe(document, {childList: true, subtree: true});
});
