// node mlflow.mjs <address of MLflow's UI> <experiment> <folder>: takes the pictures, with playwright-core.
// What a user would click is preset where the UI remembers it: in the browser's local storage.
import { chromium } from 'playwright-core';

const [address, name, folder] = process.argv.slice(2);
const PRIMARY = 'mAP50-95';
const COLUMNS = ['metrics.`mAP50-95`', 'metrics.`mAP50`', 'metrics.`mAP75`', 'metrics.`best/mAP50-95`',
  'metrics.`epoch/loss`', 'params.`optimizer.lr`', 'params.`runtime.epochs`'];
const CHARTS = '^(mAP50-95|mAP50|mAP75|epoch/loss|epoch/loss_cls|epoch/loss_bbox)$';

const ask = async (path, body) => (await fetch(`${address}/api/2.0/mlflow/${path}`, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
})).json();

const found = await ask('experiments/search', { max_results: 100, filter: `name = '${name}'` });
if (!found.experiments) throw new Error(`there is no experiment ${name}`);
const id = found.experiments[0].experiment_id;
const { runs } = await ask('runs/search', {
  experiment_ids: [id], order_by: [`metrics.\`${PRIMARY}\` DESC`], filter: "params.`model.name` != ''",
});
const three = runs.slice(0, 3).map((run) => run.info.run_id);
const parents = runs.flatMap((run) => run.data.tags).filter((tag) => tag.key === 'mlflow.parentRunId');

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });

async function picture(file, path, height, state, act) {
  const context = await browser.newContext({ viewport: { width: 1360, height } });
  await context.addInitScript(([key, value]) => {
    localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
    localStorage.setItem(key, JSON.stringify(value));
  }, [`MLflowLocalStorage-1.1-ExperimentPage-["${id}"]-ReactComponentState`, state]);
  const page = await context.newPage();
  await page.goto(`${address}/#/experiments/${id}/${path}`, { waitUntil: 'domcontentloaded' });
  await page.getByText('Model training', { exact: true }).click();
  await page.goto(`${address}/#/experiments/${id}/${path}`, { waitUntil: 'domcontentloaded' });
  await page.getByRole('button', { name: 'Toggle sidebar' }).click();
  // The assistant's button lies over the page.
  await page.addStyleTag({ content: '[data-assistant-ui] { display: none !important }' });
  await act(page);
  await page.mouse.move(0, 0);
  await settle(page);
  await page.screenshot({ path: `${folder}/${file}` });
  await context.close();
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

const listed = {
  orderByKey: `metrics.\`${PRIMARY}\``, orderByAsc: false, selectedColumns: COLUMNS, autoRefreshEnabled: false,
  runsExpanded: Object.fromEntries(parents.map((tag) => [tag.value, true])),
};
const sorted = (page) => page.getByText('matching runs').waitFor();

await picture('mlflow-runs.png', 'runs', 450, listed, sorted);
await picture('mlflow-sweep.png', 'runs', 450, { ...listed, orderByKey: 'attributes.start_time' }, sorted);
await picture('mlflow-run.png', `runs/${three[0]}`, 900, listed, (page) => page.getByText('About this run').waitFor());
await picture('mlflow-plots.png', `runs/${three[0]}/artifacts`, 900, listed, async (page) => {
  await page.getByText('plots', { exact: true }).click();
  await page.getByText('losses.png').click();
});
await picture('mlflow-compare.png', 'runs', 1080, listed, async (page) => {
  await sorted(page);
  await page.locator('label:has(input[name=runs-view-mode][value=CHART])').click();
  await page.getByPlaceholder('Search metric charts').fill(CHARTS);
});
await browser.close();
