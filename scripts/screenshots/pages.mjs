// What the scripts of pictures share: an experiment in MLflow's UI, and a browser that takes pictures of its pages.
// What a user would click is preset where the UI remembers it: in the browser's local storage.
import { chromium } from 'playwright-core';

export async function open(address, name, folder) {
  const ask = async (path, body) => (await fetch(`${address}/api/2.0/mlflow/${path}`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
  })).json();
  const found = await ask('experiments/search', { max_results: 100, filter: `name = '${name}'` });
  if (!found.experiments) throw new Error(`there is no experiment ${name}`);
  const id = found.experiments[0].experiment_id;
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });

  async function picture(file, path, height, state, act) {
    const context = await browser.newContext({ viewport: { width: 1360, height } });
    await context.addInitScript(([key, value]) => {
      localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
      localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
      localStorage.setItem(key, JSON.stringify(value));
    }, [`MLflowLocalStorage-1.1-ExperimentPage-["${id}"]-ReactComponentState`, state]);
    const page = await context.newPage();
    const target = path.startsWith('/') ? `${address}/#${path}` : `${address}/#/experiments/${id}/${path}`;
    await page.goto(`${address}/#/experiments/${id}/runs`, { waitUntil: 'domcontentloaded' });
    await page.getByText('Model training', { exact: true }).click();
    await page.goto(target, { waitUntil: 'domcontentloaded' });
    await page.getByRole('button', { name: 'Toggle sidebar' }).click();
    // The assistant's button lies over the page.
    await page.addStyleTag({ content: '[data-assistant-ui] { display: none !important }' });
    await act(page);
    await page.mouse.move(0, 0);
    await settle(page);
    await page.screenshot({ path: `${folder}/${file}` });
    await context.close();
  }

  return { id, ask, picture, close: () => browser.close() };
}

// Until nothing moves any more: two looks, half a second apart, show the same.
async function settle(page) {
  let before = '';
  for (let look = 0; look < 40; look += 1) {
    await page.waitForTimeout(500);
    const now = (await page.screenshot()).toString('base64');
    if (now === before) return;
    before = now;
  }
}
