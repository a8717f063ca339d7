// node mlflow.mjs <address of MLflow's UI> <experiment> <folder>: takes the pictures, with playwright-core.
import { open } from './pages.mjs';

const [address, name, folder] = process.argv.slice(2);
const PRIMARY = 'mAP50-95';
const COLUMNS = ['metrics.`mAP50-95`', 'metrics.`mAP50`', 'metrics.`mAP75`', 'metrics.`best/mAP50-95`',
  'metrics.`epoch/loss`', 'params.`optimizer.lr`', 'params.`runtime.epochs`'];
const CHARTS = '^(mAP50-95|mAP50|mAP75|epoch/loss|epoch/loss_cls|epoch/loss_bbox)$';

const { id, ask, picture, close } = await open(address, name, folder);
const { runs } = await ask('runs/search', {
  experiment_ids: [id], order_by: [`metrics.\`${PRIMARY}\` DESC`], filter: "params.`model.name` != ''",
});
const three = runs.slice(0, 3).map((run) => run.info.run_id);
const parents = runs.flatMap((run) => run.data.tags).filter((tag) => tag.key === 'mlflow.parentRunId');

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
await close();
