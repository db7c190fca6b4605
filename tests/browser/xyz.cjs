// A grid of the X/Y/Z plot along SafeGen's axes: first as it can't be made, then as it can.
const {scenario, at} = require("./support.cjs");

const PLOT = "#script_txt2img_xyz_plot";

/** Chooses an axis and writes its values, or picks them where the host has a list of them. */
async function axis(ui, letter, label, values) {
    await ui.choose(`${PLOT}_${letter}_type`, label);
    await ui.page.waitForTimeout(700); // the host shows the field for its values
    if (typeof values === "string") {
        await ui.fill(`${PLOT}_${letter}_values :is(textarea, input)`, values);
        return;
    }
    const list = ui.page.locator(".block:visible").filter({hasText: `${letter.toUpperCase()} values`}).last();
    const field = list.locator("input").last();
    for (const value of values) {
        await field.fill(value);
        await field.press("Enter");
        await ui.page.waitForTimeout(200);
    }
    return field;
}

/** The picture that is shown: its size, and how many of its lower right pixels are black. */
function picture() {
    const shown = document.querySelector("#txt2img_gallery img");
    if (!shown) return null;
    const canvas = document.createElement("canvas");
    const {naturalWidth: width, naturalHeight: height} = shown;
    Object.assign(canvas, {width, height});
    const context = canvas.getContext("2d");
    context.drawImage(shown, 0, 0);
    const {data} = context.getImageData(width - 128, height - 128, 128, 128);
    let black = 0;
    for (let i = 0; i < data.length; i += 4) black += data[i] + data[i + 1] + data[i + 2] === 0;
    return {width, height, black: black / (128 * 128)};
}

scenario(async(ui, seen) => {
    const told = async() => {
        await ui.generate();
        return ui.get("#html_log_txt2img").innerText();
    };
    await ui.fill("#txt2img_prompt textarea", "a bloody red ball on the beach, on the left");
    await ui.small({width: 64, height: 64, steps: 2});
    await ui.choose("#script_list", "X/Y/Z plot");
    await axis(ui, "x", "[SafeGen] Safety weight", "0, 1");

    at("SafeGen is off");
    seen.off = await told();

    at("wrong values");
    await ui.toggle(true);
    await ui.fill(`${PLOT}_x_values :is(textarea, input)`, "0, much");
    seen.word = await told();
    await ui.fill(`${PLOT}_x_values :is(textarea, input)`, "0, 1.5");
    seen.large = await told();

    at("a cell that can't be made");
    await ui.fill(`${PLOT}_x_values :is(textarea, input)`, "0-1 [2]");
    const contexts = await axis(ui, "y", "[SafeGen] Safety context", ["violence", "custom"]);
    seen.cell = await told();
    seen.nothing = await ui.page.evaluate(picture);

    at("the grid");
    await contexts.press("Backspace"); // takes the last one away
    await contexts.fill("auto");
    await contexts.press("Enter");
    seen.made = await told();
    seen.info = await ui.info();
    seen.grid = await ui.page.evaluate(picture);
    await ui.shoot("xyz");
});
