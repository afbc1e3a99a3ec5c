// Runs an exported suite with promptfoo's own evaluator; prints what came of each test, a line each, as JSON.
//
//     node run_promptfoo.mjs FOLDER_OF_PACKAGES FOLDER_OF_SUITE SERVER
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, suite, server] = process.argv.slice(2);
const found = (...parts) => import(pathToFileURL(path.join(packages, 'node_modules', ...parts)).href);
const { default: promptfoo } = await found('promptfoo', 'dist', 'src', 'index.js');
const { default: yaml } = await found('js-yaml', 'dist', 'js-yaml.mjs');
process.chdir(suite);
const config = yaml.load(fs.readFileSync('promptfooconfig.yaml', 'utf8'));
config.providers[0].config.server = server;
const done = await promptfoo.evaluate({ ...config, writeLatestResults: false }, { maxConcurrency: 1, cache: false });
const { results } = await done.toEvaluateSummary();
for (const { testIdx, response, error, success } of results) {
  console.log(JSON.stringify({ test: testIdx, output: response?.output ?? null, error: response?.error ?? error, success }));
}
process.exit(0);
