// Evaluates a suite whose provider is a Python file; prints what came of each test, a line each, as JSON.
//
//     node run_promptfoo_adapter.mjs FOLDER_OF_PACKAGES FOLDER_OF_SUITE
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, suite] = process.argv.slice(2);
const file = path.join(packages, 'node_modules', 'promptfoo', 'dist', 'src', 'index.js');
const { default: promptfoo } = await import(pathToFileURL(file).href);
process.chdir(suite);
const config = JSON.parse(fs.readFileSync('suite.json', 'utf8'));
const done = await promptfoo.evaluate({ ...config, writeLatestResults: false }, { maxConcurrency: 4, cache: false });
const { results } = await done.toEvaluateSummary();
for (const { testIdx, response, error, success } of results) {
  const { output, tokenUsage } = response ?? {};
  console.log(JSON.stringify({ test: testIdx, output: output ?? null, usage: tokenUsage ?? null, error: response?.error || error || null, success }));
}
const { loadApiProvider } = promptfoo;
const judge = await loadApiProvider(config.providers[0].id, { options: config.providers[0], basePath: suite });
console.log(JSON.stringify(await judge.callClassificationApi(config.classified)));
process.exit(0);
