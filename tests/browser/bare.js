// The few functions that an extension's script finds on a WebUI's page, for the bare page.
(function() {
    "use strict";

    const updated = [];
    const tabbed = [];

    window.gradioApp = () => document;
    window.randomId = () => `task(${Math.random().toString(36).slice(2)})`;
    window.submit = (...given) => [window.randomId(), ...given.slice(1)];
    window.onUiLoaded = callback => setTimeout(callback, 0); // it is, when this is run
    window.onAfterUiUpdate = callback => updated.push(callback);
    window.onUiTabChange = callback => tabbed.push(callback);

    let waiting = false;
    new MutationObserver(() => {
        if (waiting) return;
        waiting = true;
        setTimeout(() => {
            waiting = false;
            updated.forEach(callback => callback());
        }, 100);
    }).observe(document.body, {childList: true, subtree: true, characterData: true});

    document.addEventListener("click", event => {
        if (event.target.closest("#tabs > .tab-nav")) setTimeout(() => tabbed.forEach(callback => callback()), 100);
    });

    /** Says above `place` how far a job has come, until it is over. */
    window.requestProgress = async(task, place, _gallery, atEnd) => {
        const line = document.createElement("div");
        line.className = "progressDiv";
        place.before(line);
        const ask = async() => (await fetch(`bare/progress?task=${encodeURIComponent(task)}`)).json();
        for (let told = await ask(); !told.over; told = await ask()) {
            line.textContent = told.text;
            await new Promise(done => setTimeout(done, 100));
        }
        line.remove();
        atEnd();
    };
})();
