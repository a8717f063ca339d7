// node sweep.mjs <address of MLflow's UI> <experiment> <folder>: pictures of its newest sweep, with playwright-core.
import { open } from './pages.mjs';

const [address, name, folder] = process.argv.slice(2);
const { id, ask, picture, close } = await open(address, name, folder);
const { runs } = await ask('runs/search', { experiment_ids: [id], max_results: 500 });
const tag = (run, key) => run.data.tags.find((one) => one.key === key)?.value;
const parent = runs.find((run) => tag(run, 'kind') === 'sweep' && tag(run, 'sweep.trials'));
if (!parent) throw new Error(`no sweep in ${name} has been told to MLflow`);
const trials = runs.filter((run) => tag(run, 'mlflow.parentRunId') === parent.info.run_id);
const [primary] = tag(parent, 'sweep.objectives').split(' ');
const searched = parent.data.params.map((param) => param.key).filter((key) => key.startsWith('sweep.'));
const columns = [`metrics.\`${primary}\``, ...searched.map((key) => `params.\`${key}\``), 'tags.`sweep.state`'];

const listed = {
  orderByKey: 'attributes.start_time', orderByAsc: false, selectedColumns: columns, autoRefreshEnabled: false,
  runsExpanded: { [parent.info.run_id]: true },
};
await picture('sweep-mlflow.png', 'runs', 820, listed, (page) => page.getByText('matching runs').waitFor());

const ids = encodeURIComponent(JSON.stringify(trials.filter((run) => tag(run, 'sweep.state') === 'complete')
  .map((run) => run.info.run_id)));
const compare = `/compare-runs?runs=${ids}&experiments=${encodeURIComponent(JSON.stringify([id]))}`;
await picture('sweep-mlflow-compare.png', compare, 760, listed, async (page) => {
  await page.getByRole('button', { name: 'Clear All' }).click();
  const boxes = page.getByRole('combobox');
  for (const [box, names] of [[0, searched], [1, [primary]]]) {
    for (const one of names) {
      await boxes.nth(box).click();
      await page.keyboard.type(one);
      await page.keyboard.press('Enter');
    }
    await page.keyboard.press('Escape');
  }
});
await picture('sweep-mlflow-run.png', `runs/${parent.info.run_id}`, 900, listed,
  (page) => page.getByText('About this run').waitFor());
await picture('sweep-mlflow-plots.png', `runs/${parent.info.run_id}/artifacts`, 900, listed, async (page) => {
  await page.getByText('plots', { exact: true }).click();
  for (let look = 0; look < 10; look += 1) { // a click on a tree that is still being drawn is lost
    await page.getByText('parallel.png').first().click();
    await page.waitForTimeout(1500);
    if (!await page.getByText('Select a file to preview').isVisible()) break;
  }
});
await picture('sweep-mlflow-page.png', `runs/${parent.info.run_id}/artifacts`, 900, listed, async (page) => {
  await page.getByText('sweep.html').click();
  await page.waitForTimeout(4000); // its plots are drawn in a frame
});
await close();
