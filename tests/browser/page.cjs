// The WebUI's page as a person uses it. Usage: node page.cjs URL FOLDER
// Prints one JSON object: what was seen at each station. Screenshots go to FOLDER.
// playwright-core is found through NODE_PATH, the browser through CHROMIUM.
const { chromium } = require('playwright-core');
const path = require('path');

const [url, folder] = process.argv.slice(2);
const PROMPT = 'a bloody red ball on the beach, on the left';
const ID = '#script_txt2img_safegen_';
const SLOW = 240000; // a busy shared core

async function fill(page, selector, value) {
  const input = page.locator(selector).first();
  await input.fill(String(value));
  await input.dispatchEvent('change');
  await input.blur();
}

async function enabled(page) {
  return page.locator(`${ID}enable-checkbox input`).first().evaluate(box => box.checked);
}

// Where it was, for whoever reads that it got no further.
function at(station) { console.error(`${new Date().toISOString()} ${station}`); }

async function toggle(page, wanted) {
  if (await enabled(page) === wanted) return;
  await page.locator(`${ID}enable-visible-checkbox`).click();
  await page.waitForFunction(
    ([selector, on]) => document.querySelector(selector)?.checked === on,
    [`${ID}enable-checkbox input`, wanted], { timeout: SLOW });
}

async function shown(page) {
  return page.evaluate(() => [
    document.querySelector('#html_info_txt2img')?.innerText || '',
    document.querySelector('#txt2img_gallery img')?.getAttribute('src') || '',
  ]);
}

async function generate(page) {
  const before = await shown(page);
  await page.locator('#txt2img_generate').click();
  await page.waitForFunction(
    ([info, image]) => {
      const text = document.querySelector('#html_info_txt2img')?.innerText || '';
      const source = document.querySelector('#txt2img_gallery img')?.getAttribute('src') || '';
      // A live preview stands in the gallery first; its source holds the picture itself.
      const saved = source.includes('file=');
      return saved && source !== image && text.includes('Seed:');
    }, before, { timeout: SLOW });
  await page.waitForTimeout(1500);
  return (await shown(page))[0];
}

async function main() {
  const seen = { errors: [] };
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1250 } });
    page.setDefaultTimeout(SLOW);
    page.on('pageerror', error => seen.errors.push(String(error)));
    // Gradio asks for fonts from elsewhere; nothing may leave the machine, and nothing need wait.
    const local = new URL(url).hostname;
    await page.route('**/*', route =>
      new URL(route.request().url()).hostname === local ? route.continue() : route.abort());
    await page.goto(`${url}/?__theme=light`, { waitUntil: 'domcontentloaded' });
    at('page');
    await page.waitForSelector(`${ID}enable-visible-checkbox`, { state: 'attached' });
    await page.waitForTimeout(1500);

    seen.startsOff = !(await enabled(page));
    seen.startsClosed = !(await page.locator(`${ID}weight`).first().isVisible());
    await fill(page, '#txt2img_prompt textarea', PROMPT);
    for (const [name, value] of [['width', 96], ['height', 96], ['steps', 4]])
      await fill(page, `#txt2img_${name} input[type=number]`, value);
    await fill(page, '#txt2img_seed input', 7);

    at('plain picture');
    seen.plain = await generate(page);

    at('accordion');
    await toggle(page, true);
    await page.locator(`${ID}weight`).first().waitFor({ state: 'visible' });
    seen.opens = await page.locator(`${ID}weight`).first().isVisible();
    seen.summary = await page.locator(`${ID}summary`).innerText();
    await page.locator(`${ID}context input`).first().click();
    await page.locator(`${ID}context ul li`).filter({ hasText: 'violence' }).first().click();
    await page.waitForFunction(
      selector => document.querySelector(selector)?.innerText.includes('violence'),
      `${ID}summary`, { timeout: SLOW });
    seen.summaryOfContext = await page.locator(`${ID}summary`).innerText();
    await fill(page, `${ID}weight input[type=number]`, 0.8);
    await page.waitForFunction(
      selector => document.querySelector(selector)?.innerText.includes('80%'),
      `${ID}summary`, { timeout: SLOW });
    await page.locator(`${ID}enable`).scrollIntoViewIfNeeded();
    await page.screenshot({ path: path.join(folder, 'webui-accordion.png') });
    at('guarded picture');
    seen.guarded = await generate(page);
    await page.screenshot({ path: path.join(folder, 'webui-generated.png') });

    at('pasting');
    // Off, and back by pasting the picture's own parameters.
    await toggle(page, false);
    await page.waitForTimeout(500);
    await fill(page, '#txt2img_prompt textarea', seen.guarded);
    await page.locator('#paste').click();
    await page.waitForFunction(
      selector => document.querySelector(selector)?.checked === true,
      `${ID}enable-checkbox input`, { timeout: SLOW });
    await page.waitForTimeout(1000);
    seen.pastedContext = await page.locator(`${ID}context input`).first().inputValue();
    seen.pastedWeight = await page.locator(`${ID}weight input[type=number]`).first().inputValue();
    seen.pastedPrompt = await page.locator('#txt2img_prompt textarea').inputValue();

    // The plain picture's parameters switch it off again.
    await fill(page, '#txt2img_prompt textarea', seen.plain);
    await page.locator('#paste').click();
    await page.waitForFunction(
      selector => document.querySelector(selector)?.checked === false,
      `${ID}enable-checkbox input`, { timeout: SLOW });
    at('plain picture again');
    seen.off = await generate(page);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

main().catch(error => { console.error(error); process.exit(1); });
