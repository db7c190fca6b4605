// Ways to use the SafeGen tab, and what can be asked of every pane of it.

/** Opens the SafeGen tab and one of its panes. */
async function pane(ui, name) {
    await ui.tab("SafeGen");
    await ui.page.locator("#safegen_tabs [role=tab]").filter({hasText: name}).first().click();
    await ui.page.waitForTimeout(300);
}

/** The visible controls of the tab that have no name for a screen reader. */
async function unnamed(ui) {
    return ui.page.evaluate(() => [...document.querySelectorAll(
        "#tab_safegen :is(input, textarea, button, a, select)"
    )].filter(element => element.checkVisibility()).filter(element => {
        const label = element.closest("label") || (element.id && document.querySelector(`label[for="${element.id}"]`));
        const text = `${element.innerText || ""}${label?.innerText || ""}${element.getAttribute("aria-label") || ""}`;
        return !text.trim();
    }).map(element => element.closest("[id]")?.id || element.outerHTML.slice(0, 80)));
}

/** Our own texts whose contrast with what is behind them is below 4.5, as WCAG 2 counts it. */
async function faint(ui) {
    return ui.page.evaluate(() => {
        const parse = text => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
        const luminance = ([r, g, b]) => {
            const [x, y, z] = [r, g, b].map(value => {
                const share = value / 255;
                return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * x + 0.7152 * y + 0.0722 * z;
        };
        const behind = element => {
            for (let node = element; node; node = node.parentElement) {
                const color = parse(getComputedStyle(node).backgroundColor);
                if (color.length < 4 || color[3] > 0.9) return color;
            }
            return [255, 255, 255];
        };
        const found = [];
        for (const element of document.querySelectorAll("#safegen_tabs *")) {
            const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
            if (!own || !element.offsetParent) continue;
            const one = luminance(parse(getComputedStyle(element).color));
            const other = luminance(behind(element));
            const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
            if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.innerText.slice(0, 40)}`);
        }
        return found;
    });
}

module.exports = {pane, unnamed, faint};
