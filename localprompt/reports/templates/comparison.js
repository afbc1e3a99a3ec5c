// The sections of a comparison: methods on tasks, each row of the result a method.

const found = report.result;
const methods = found ? Object.keys(found.methods) : [];
const tasks = found ? [...new Set(found.rows.map((row) => row.task))] : [];
const seedOf = (row) => row.test.mean - row.from_seed.mean;
const isClear = (difference) => difference && difference.p < ALPHA;
const tokensOf = (row) => row.tokens_computed || row.tokens_requested;
const colourOfMethod = (method) => colourOf(methods.indexOf(method));

function verdictSection() {
  const node = section("verdict", "Verdict", el("p", { class: "verdict", text: report.headline }), ...report.damage.map((text) => el("p", { class: "bad", text })));
  if (!found) return;
  const model = `${found.model}${found.proposer !== found.model ? `, prompts by ${found.proposer}` : ""}`;
  const budget = `${count(found.max_tokens)} tokens${found.max_calls ? ` and ${count(found.max_calls)} calls` : ""} a search`;
  node.append(el("p", { class: "quiet", text: `${plural(methods.length, "method")} on ${plural(tasks.length, "task")} with ${model}; ${budget}; ${plural(found.runs.length, "run")} finished.` }));
  if (report.unfinished.length) {
    dataTable(node, "Runs that are not finished: they count nowhere on this page", [
      { name: "run", value: (each) => each.run_id, short: true }, { name: "task", value: (each) => each.task }, { name: "method", value: (each) => each.method },
      { name: "seed", value: (each) => each.seed, right: true }, { name: "status", value: (each) => each.status }, { name: "why", value: (each) => each.stopped },
    ], report.unfinished, [], { search: false });
  }
  if (found.notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, found.notes.map((text) => el("li", { text }))));
}

// Draw the methods of some rows with their intervals, the seed prompt and the constant answer as lines.
function drawMethods(node, rows, where) {
  const shown = [...rows].sort((a, b) => a.test.mean - b.test.mean);
  const seed = seedOf(rows[0]), { constant } = rows[0];
  const line = (x, name, dash) => ({ type: "scatter", mode: "lines", x: [x, x], y: [-0.5, shown.length - 0.5], name: `${name} ${score(x)}`, line: { color: colour("seed"), dash, width: 2 }, hoverinfo: "skip" });
  chart(node, `Mean score of the found prompts on test ${where}, with the 95 % interval over seeds where there are several`, () => [
    line(seed, "seed prompt", "solid"), ...(constant === null ? [] : [line(constant, "one answer to everything", "dot")]),
    {
      type: "scatter", mode: "markers", showlegend: false, cliponaxis: false, x: shown.map((row) => row.test.mean), y: shown.map((_, place) => place),
      marker: { size: 12, color: shown.map((row) => colourOfMethod(row.method)) },
      error_x: { type: "data", symmetric: false, array: shown.map((row) => (row.test.high ?? row.test.mean) - row.test.mean), arrayminus: shown.map((row) => row.test.mean - (row.test.low ?? row.test.mean)), color: colour("quiet"), thickness: 2 },
      text: shown.map((row) => `${plotText(row.method)}: ${score(row.test.mean)}<br>${plural(row.runs, "run")}, ${within(row.test)}`), hovertemplate: "%{text}<extra></extra>",
    },
  ], () => ({
    height: 110 + 34 * shown.length, showlegend: true, legend: { orientation: "h", y: -0.35 }, margin: { l: 90, r: 16, t: 8, b: 60 },
    xaxis: { range: [0, 1], title: { text: "score on test" } },
    yaxis: { tickvals: shown.map((_, place) => place), ticktext: shown.map((row) => plotText(row.method)), range: [-0.6, shown.length - 0.4], zeroline: false },
  }));
  const difference = (name, key) => ({
    name, right: true, value: (row) => row[key]?.mean,
    cell: (row) => (row[key] ? ranged(heat({ text: signed(row[key].mean), share: Math.min(1, Math.abs(row[key].mean) * 2), line: 0, name: `${row[key].mean > 0 ? "better" : "worse"}${isClear(row[key]) ? " clear" : ""}` }), row[key], signed) : "\u2013"),
  });
  dataTable(node, "Mean over runs, with 95 % intervals; underlined: p below 0.05, not corrected for the number of rows. A difference below the noise says nothing.", [
    { name: "method", value: (row) => row.method }, { name: "runs", value: (row) => row.runs, right: true },
    { name: "test", value: (row) => row.test.mean, cell: (row) => ranged(score(row.test.mean), row.test), right: true },
    difference("from the seed prompt", "from_seed"), difference("from random", "from_random"),
    { name: "noise", value: (row) => row.noise, cell: (row) => score(row.noise), right: true },
    { name: "area", value: (row) => row.area?.mean, cell: (row) => score(row.area?.mean), right: true },
    { name: "tokens a run", value: tokensOf, cell: (row) => count(Math.round(tokensOf(row))), right: true },
    { name: "minutes a run", value: (row) => row.seconds, cell: (row) => (row.seconds / 60).toFixed(1), right: true },
  ], rows, [], { search: false });
}

function methodSection() {
  const node = section("methods", tasks.length > 1 ? "Methods over all tasks" : "Methods");
  if (found.over_tasks.length) drawMethods(node, found.over_tasks, "over all tasks");
  else if (tasks.length === 1) drawMethods(node, found.rows, `on ${tasks[0]}`);
  else node.append(el("p", { text: "No method has a run on all of the tasks." }));
  node.append(el("p", { class: "quiet", text: "Area: mean dev score of the best prompt so far, over the token budget: a search that finds early is worth more. Random: the method that proposes without learning from scores." }));
}

function taskSection() {
  const node = section("tasks", "Each task");
  for (const task of tasks) {
    node.append(el("h3", { text: task }));
    drawMethods(node, found.rows.filter((row) => row.task === task), `on ${task}`);
  }
}

// Return the mean of step functions at each place where one of them steps.
function meanCurve(curves) {
  const places = [...new Set(curves.flatMap((each) => [0, ...each.steps.map(([tokens]) => tokens)]))].sort((a, b) => a - b);
  const at = (curve, tokens) => curve.steps.reduce((value, [from, next]) => (from <= tokens ? next : value), curve.start);
  const limit = curves[0].limit;
  const inside = places.filter((tokens) => tokens < limit);
  const values = inside.map((tokens) => curves.reduce((sum, each) => sum + at(each, tokens), 0) / curves.length);
  return { x: [...inside, limit], y: [...values, values[values.length - 1]] };
}

function curveSection() {
  const node = section("curves", "Best prompt so far");
  if (!report.curves.length) {
    node.append(el("p", { text: "Not known: the seed prompt was not scored on all of dev, or no tokens were the limit." }));
    return;
  }
  for (const task of tasks) {
    const curves = report.curves.filter((each) => each.task === task);
    if (!curves.length) continue;
    node.append(el("h3", { text: task }));
    chart(node, `Dev score of the best prompt so far on ${task}, against the tokens of the search: a thin line a run, a thick one the mean of a method`, () => methods.flatMap((method) => {
      const mine = curves.filter((each) => each.method === method);
      if (!mine.length) return [];
      const own = mine.length < 2 ? [] : mine.map((each) => ({ type: "scatter", mode: "lines", x: [0, ...each.steps.map(([tokens]) => tokens), each.limit], y: [each.start, ...each.steps.map(([, value]) => value), (each.steps[each.steps.length - 1] ?? [0, each.start])[1]], line: { shape: "hv", width: 1, color: colourOfMethod(method) }, opacity: 0.45, showlegend: false, hovertemplate: `${plotText(method)}, seed ${each.seed}: %{y:.3f} at %{x:,} tokens<extra></extra>` }));
      const mean = meanCurve(mine);
      return [...own, { type: "scatter", mode: "lines", ...mean, name: plotText(method), line: { shape: "hv", width: 3, color: colourOfMethod(method), dash: ["solid", "dash", "dot", "dashdot"][methods.indexOf(method) % 4] }, hovertemplate: `${plotText(method)}, mean of ${mine.length}: %{y:.3f} at %{x:,} tokens<extra></extra>` }];
    }), () => ({ showlegend: true, xaxis: { title: { text: "tokens" }, range: [0, curves[0].limit] }, yaxis: { title: { text: "dev score" }, rangemode: "tozero" }, margin: { l: 56, r: 16, t: 12, b: 44 }, legend: { orientation: "h", y: -0.25 } }));
  }
}

function runSection() {
  const node = section("runs", "Runs and the prompts that they found");
  dataTable(node, "Choose + for the prompt; localprompt report RUN shows a run in full", [
    { name: "run", value: (run) => run.run_id, short: true }, { name: "task", value: (run) => run.task }, { name: "method", value: (run) => run.method },
    { name: "seed", value: (run) => run.seed, right: true },
    { name: "test", value: (run) => run.test?.best.mean, cell: (run) => score(run.test?.best.mean), right: true },
    { name: "gain", value: (run) => run.test?.difference.mean, cell: (run) => signed(run.test?.difference.mean), right: true },
    { name: "verdict", value: (run) => run.verdict },
    { name: "prompt", value: (run) => shownPrompt(run.best.prompt), cell: (run) => verbatim(shortened(shownPrompt(run.best.prompt), 120), "div"), wide: true },
  ], found.runs, [{ name: "task", value: (run) => run.task }, { name: "method", value: (run) => run.method }], {
    detail: (run) => el("div", { class: "columns" }, promptBox("Found prompt", run.best.prompt), promptBox("Seed prompt", run.seed_prompt)),
  });
  if (!found.failures.length) return;
  node.append(el("h3", { text: "Runs that failed" }));
  dataTable(node, "They count nowhere on this page", [
    { name: "run", value: (each) => each.run_id, short: true }, { name: "task", value: (each) => each.task }, { name: "method", value: (each) => each.method },
    { name: "seed", value: (each) => each.seed, right: true }, { name: "error", value: (each) => `${each.error}${each.hint ? ` (${each.hint})` : ""}`, wide: true },
  ], found.failures, [], { search: false });
}

function discardSection() {
  const node = section("discards", "Proposals that were not used");
  const rows = methods.flatMap((method) => {
    const mine = found.rows.filter((row) => row.method === method), reasons = new Map();
    for (const row of mine) for (const [reason, n] of Object.entries(row.discards)) reasons.set(reason, (reasons.get(reason) ?? 0) + n);
    const proposals = mine.reduce((sum, row) => sum + row.proposals, 0);
    return [...reasons].map(([reason, n]) => ({ method, reason, n, share: proposals ? n / proposals : 0 }));
  });
  if (!rows.length) {
    node.append(el("p", { text: "Every proposal was used." }));
    return;
  }
  dataTable(node, "By method and reason, over all tasks; share of the method's proposals", [
    { name: "method", value: (row) => row.method }, { name: "reason", value: (row) => row.reason, wide: true },
    { name: "proposals", value: (row) => row.n, cell: (row) => count(row.n), right: true }, { name: "share", value: (row) => row.share, cell: (row) => percent(row.share), right: true },
  ], rows, [{ name: "method", value: (row) => row.method }]);
}

function repeatSection() {
  const { configuration } = report, node = section("repeat", "To repeat it");
  node.append(commandBox(report.command), el("p", { class: "quiet", text: "It goes on with runs that are not finished, and shows the result again where all are." }));
  const plainly = (value) => (value !== null && typeof value === "object" ? Object.entries(value).map(([name, part]) => `${name} ${part}`).join(", ") : String(value));
  node.append(facts([["comparison", report.comparison_id], ["begun", moment(report.created)], ["last changed", moment(report.updated)],
    ...Object.entries(configuration).filter(([, value]) => value !== null).map(([name, value]) => [name, plainly(value)])]));
  if (!found) return;
  node.append(el("h3", { text: "Settings of the methods" }));
  for (const [method, how] of Object.entries(found.methods)) {
    const changed = Object.entries(how.changed).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ");
    node.append(el("details", {}, el("summary", { text: `${method}: preset ${how.preset}${changed ? `, ${changed}` : ""}` }), facts(Object.entries(how.settings).map(([name, value]) => [name, JSON.stringify(value)]))));
  }
}

verdictSection();
if (found) {
  methodSection();
  if (tasks.length > 1) taskSection();
  curveSection();
  runSection();
  discardSection();
}
repeatSection();
ready();
