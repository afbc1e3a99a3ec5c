// The sections of a comparison: methods on tasks. Only finished runs count.

const found = report.result;
const methods = found ? Object.keys(found.methods) : [];
const results = new Map((found ? found.runs : []).map((run) => [run.run_id, run]));
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const TONES = { good: "good", bad: "bad", open: "warn" };
const colourOfMethod = (method) => colourOf(methods.indexOf(method));
const symbolOf = (method) => SYMBOLS[methods.indexOf(method) % SYMBOLS.length];
const tokensOf = (each) => each.tokens_computed || each.tokens_requested;
const minutes = (seconds) => (seconds / 60).toFixed(seconds < 600 ? 2 : 1);
const paragraph = (text, kind = null) => el("p", { class: kind, text });
const list = (texts) => (texts.length ? el("ul", {}, texts.map((text) => el("li", { dir: "auto", text }))) : null);
const rowsOf = (task) => (task === null ? found.over_tasks : found.rows.filter((row) => row.task === task));
const testOf = (run) => results.get(run.run_id)?.test ?? null;

function verdictSection() {
  const node = section("verdict", "Verdict", ...report.state.map((text) => paragraph(text, "banner")), paragraph(report.headline, `headline ${TONES[report.tone]}`));
  if (!found) return node.append(paragraph("No run of this comparison can be read.", "bad"));
  const written = found.proposer === found.model ? "" : `, prompts by ${found.proposer}`;
  const calls = found.max_calls ? ` and ${plural(found.max_calls, "call")}` : "";
  const done = report.runs.filter((run) => run.status === "finished").length;
  node.append(paragraph(`Comparison ${report.comparison_id}: ${plural(methods.length, "method")} on ${plural(new Set(report.runs.map((run) => run.task).filter(Boolean)).size, "task")} with ${found.model}${written}; ${count(found.max_tokens)} tokens${calls} a search; ${count(done)} of ${plural(report.runs.length, "run")} finished; ${moment(report.created)} to ${moment(report.updated)}.`, "quiet"));
  const whole = report.over_tasks ?? (report.tasks.length === 1 ? report.tasks[0] : null);
  if (whole) node.append(el("h3", { text: "What that rests on" }), list(whole.verdict.reasons));
  if (report.tasks.length > 1) {
    node.append(el("h3", { text: "On each task" }), el("ul", {}, report.tasks.map((each, i) => el("li", {}, el("a", { href: `#task-${i + 1}`, text: each.task }), ": ", el("span", { class: TONES[each.verdict.tone], text: `${each.verdict.headline}.` })))));
  }
  if (found.notes.length) node.append(el("h3", { text: "Doubts about the data" }), list(found.notes));
}

// Draw test scores of methods and what they gained over the seed prompt, best first, then the same as a table.
function methodsOf(node, each) {
  const rows = [...rowsOf(each.task)].sort((a, b) => a.test.mean - b.test.mean), names = rows.map((row) => row.method);
  const where = each.task === null ? "over all tasks" : `on ${each.task}`;
  const runs = each.task === null ? [] : found.runs.filter((run) => run.task === each.task && run.test);
  const { constant } = rows[0], noise = Math.max(0, ...rows.map((row) => row.noise ?? 0));
  const height = 96 + 38 * rows.length;
  const places = (values) => ({ tickvals: values.map((_, i) => i), ticktext: values.map((name) => plotText(name, 40)), range: [-0.6, values.length - 0.4], zeroline: false, showgrid: false });
  const dots = (means, lows, highs, texts) => ({
    type: "scatter", mode: "markers", x: means, y: names.map((_, i) => i), text: texts, hoverinfo: "text", cliponaxis: false,
    marker: { size: 13, color: names.map(colourOfMethod), symbol: names.map(symbolOf), line: { width: 1.5, color: colour("panel") } },
    error_x: { type: "data", symmetric: false, array: highs.map((high, i) => (high ?? means[i]) - means[i]), arrayminus: lows.map((low, i) => means[i] - (low ?? means[i])), color: colour("quiet"), thickness: 2.5, width: 6 },
  });
  const upright = (x, name, dash) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: colour(name), width: 2, dash } });
  const columns = el("div", { class: "columns" });
  const [left, right] = [el("div"), el("div")];
  columns.append(left, right);
  node.append(columns);
  const lines = [`Line: the seed prompt, ${score(each.seed_score)}.`, constant === null ? null : `Dotted: what one answer to everything would score, ${score(constant)}.`].filter(Boolean).join(" ");
  const reach = (values, more) => { const [low, high] = [Math.min(...values), Math.max(...values)], room = 0.06 * Math.max(high - low, 0.05); return [Math.max(more[0], low - room), Math.min(more[1], high + room)]; };
  const inChart = [...rows.flatMap((row) => [row.test.mean, row.test.low ?? row.test.mean, row.test.high ?? row.test.mean]), ...runs.map((run) => run.test.best.mean), each.seed_score, constant ?? each.seed_score];
  chart(left, `Score on test ${where}: mean of the runs with its 95 % interval over seeds${runs.length ? ", each small ring a seed" : ""}. ${lines}`, () => [
    { type: "scatter", mode: "markers", x: runs.map((run) => run.test.best.mean), y: runs.map((run) => names.indexOf(run.method) - 0.28), text: runs.map((run) => `${plotText(run.method)}, seed ${run.seed}: ${score(run.test.best.mean)}`), hoverinfo: "text", cliponaxis: false, marker: { size: 7, symbol: "circle-open", color: runs.map((run) => colourOfMethod(run.method)), line: { width: 1.5 } } },
    dots(rows.map((row) => row.test.mean), rows.map((row) => row.test.low), rows.map((row) => row.test.high), rows.map((row) => `${plotText(row.method)}: ${score(row.test.mean)}<br>${plural(row.runs, "run")}, ${row.test.low === null ? "no interval" : within(row.test)}`)),
  ], () => ({
    height, margin: { l: 80, r: 16, t: 8, b: 44 }, xaxis: { title: { text: "score on test" }, range: reach(inChart, [-0.02, 1.02]) }, yaxis: places(names),
    shapes: [upright(each.seed_score, "seed", "solid"), ...(constant === null ? [] : [upright(constant, "quiet", "dot")])],
  }));
  const gains = [0, -noise, noise, ...rows.flatMap((row) => [row.from_seed.low, row.from_seed.high])];
  chart(right, `Gain over the seed prompt ${where}: mean difference on the same test examples with its 95 % interval.${noise ? ` Grey: the noise, ${score(noise)} to either side.` : ""}`, () => [
    dots(rows.map((row) => row.from_seed.mean), rows.map((row) => row.from_seed.low), rows.map((row) => row.from_seed.high), rows.map((row) => `${plotText(row.method)}: ${signed(row.from_seed.mean)}<br>${signed(row.from_seed.low)} to ${signed(row.from_seed.high)}, p ${pText(row.from_seed.p)}`)),
  ], () => ({
    height, margin: { l: 80, r: 16, t: 8, b: 44 }, xaxis: { title: { text: "gain over the seed prompt" }, range: reach(gains, [-1.02, 1.02]), tickformat: "+.2~f" }, yaxis: places(names),
    shapes: [upright(0, "seed", "solid"), ...(noise ? [{ type: "rect", x0: -noise, x1: noise, yref: "paper", y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: colour("line"), opacity: 0.6 }] : [])],
  }));
  const difference = (name, key) => ({ name, right: true, value: (row) => row[key]?.mean ?? null, cell: (row) => (row[key] ? ranged(`${signed(row[key].mean)}, p ${pText(row[key].p)}`, row[key], signed) : "\u2013") });
  dataTable(node, `Methods ${where}. Scores and areas: mean of the runs, below it the 95 % interval over seeds. Differences: on the same test examples, p not corrected for the number of rows`, [
    { name: "method", value: (row) => row.method }, { name: "runs", right: true, value: (row) => row.runs },
    { name: "test score", right: true, value: (row) => row.test.mean, cell: (row) => ranged(score(row.test.mean), row.test) },
    difference("from the seed prompt", "from_seed"), difference("from random", "from_random"),
    { name: "noise", right: true, value: (row) => row.noise, cell: (row) => score(row.noise) },
    { name: "area", right: true, value: (row) => row.area?.mean ?? null, cell: (row) => (row.area ? ranged(score(row.area.mean), row.area) : "\u2013") },
  ], [...rows].reverse(), [], { search: false });
  if (each.pairs.length) pairsOf(node, each, where);
}

// Draw each two methods beside each other: p is corrected for all pairs here.
function pairsOf(node, each, where) {
  const pairs = [...each.pairs].sort((a, b) => Math.abs(b.difference.mean) - Math.abs(a.difference.mean));
  const fold = el("details", { open: pairs.length <= 6 }, el("summary", { text: `Methods against each other (${plural(pairs.length, "pair")})` }));
  node.append(fold);
  dataTable(fold, `Each two methods ${where}, on the same test examples; p after Holm, for all of these pairs`, [
    { name: "method", value: (pair) => pair.second }, { name: "against", value: (pair) => pair.first },
    { name: "difference", right: true, value: (pair) => pair.difference.mean, cell: (pair) => ranged(signed(pair.difference.mean), pair.difference, signed) },
    { name: "p", right: true, value: (pair) => pair.adjusted_p, cell: (pair) => pText(pair.adjusted_p) },
    { name: "verdict", value: (pair) => (pair.is_shown ? "shown" : "not shown"), cell: (pair) => el("span", { class: pair.is_shown ? "good" : "quiet", text: pair.is_shown ? "shown" : "not shown" }) },
  ], pairs, [], { search: false, size: 15 });
}

function taskSection(each, number) {
  const node = section(`task-${number + 1}`, each.task);
  if (report.tasks.length > 1) node.append(paragraph(`${each.verdict.headline}.`, `verdict ${TONES[each.verdict.tone]}`), list(each.verdict.reasons));
  methodsOf(node, each);
  node.append(el("h3", { text: "Best prompt so far" }));
  curvesOf(node, each);
}

// Draw the score on dev of the best prompt so far: a thin line a run, a thick one a method.
function curvesOf(node, each) {
  if (!each.curves.length) return node.append(paragraph("Not known: the seed prompt was not scored on all of dev, or answers were deleted since.", "quiet"));
  const limit = found.max_tokens, runs = report.runs.filter((run) => run.task === each.task && run.best_so_far.length);
  const spent = Math.max(...runs.map((run) => run.best_so_far[run.best_so_far.length - 1][0]));
  const end = Math.max(limit, spent);
  const stepped = (steps) => ({ x: [...steps.map(([tokens]) => tokens), end], y: [...steps.map(([, value]) => value), steps[steps.length - 1][1]] });
  let isSingle = runs.length <= 40;
  const traces = () => [
    ...(isSingle ? runs.map((run) => ({ type: "scatter", mode: "lines", ...stepped(run.best_so_far), line: { shape: "hv", width: 1, color: colourOfMethod(run.method) }, opacity: 0.6, showlegend: false, text: `${plotText(run.method)}, seed ${run.seed}`, hovertemplate: "%{text}: %{y:.3f} at %{x:,} tokens<extra></extra>" })) : []),
    ...each.curves.map((curve) => ({ type: "scatter", mode: "lines", ...stepped(curve.steps), name: plotText(curve.method, 40), line: { shape: "hv", width: 3, color: colourOfMethod(curve.method), dash: DASHES[methods.indexOf(curve.method) % DASHES.length] }, hovertemplate: `${plotText(curve.method)}, mean of ${plural(curve.runs, "run")}: %{y:.3f} at %{x:,} tokens<extra></extra>` })),
  ];
  const place = el("div"), box = el("input", { type: "checkbox", checked: isSingle });
  box.addEventListener("change", () => { isSingle = box.checked; drawing.redraw(); });
  node.append(runs.length > each.curves.length ? el("div", { class: "controls" }, el("label", {}, box, " a thin line a seed")) : "", place);
  const drawing = chart(place, `Score on dev of the best prompt so far on ${each.task}, against the tokens of the search; a thick line is the mean of a method. Each prompt counts with its score on all of dev, so a line falls where a search took a worse prompt for a better one. Dashed, upright: the budget, ${count(limit)} tokens.`, traces, () => ({
    height: 380, showlegend: true, legend: { orientation: "h", y: -0.22, x: 0 }, margin: { l: 56, r: 16, t: 12, b: 48 },
    xaxis: { title: { text: "tokens of the search" }, range: [0, 1.02 * end], tickformat: ",d" }, yaxis: { title: { text: "dev score" } },
    shapes: [{ type: "line", x0: limit, x1: limit, yref: "paper", y0: 0, y1: 1, line: { color: colour("bad"), width: 1.5, dash: "dash" } }],
  }));
  const at = (curve, share) => curve.steps.filter(([tokens]) => tokens <= share * limit).pop()[1];
  const shares = [0, 0.25, 0.5, 0.75, 1];
  dataTable(node, `The same in numbers: mean dev score of the best prompt after so many tokens, and the area under the line`, [
    { name: "method", value: (curve) => curve.method },
    ...shares.map((share) => ({ name: count(Math.round(share * limit)), right: true, value: (curve) => at(curve, share), cell: (curve) => score(at(curve, share)) })),
    { name: "area", right: true, value: (curve) => areaOf(each.task, curve.method), cell: (curve) => score(areaOf(each.task, curve.method)) },
  ], each.curves, [], { search: false });
}

const areaOf = (task, method) => found.rows.find((row) => row.task === task && row.method === method)?.area?.mean ?? null;

function costSection() {
  const node = section("cost", "Cost");
  const rows = found.over_tasks.length ? [...found.rows, ...found.over_tasks] : found.rows;
  dataTable(node, "Mean of a run; the final evaluation (noise, choice, test) is not counted. Known: share of the answers that another run or an earlier session had paid for; they count in tokens, and take no time", [
    { name: "task", value: (row) => row.task ?? "over all tasks" }, { name: "method", value: (row) => row.method },
    { name: "tokens computed", right: true, value: (row) => row.tokens_computed || null, cell: (row) => (row.tokens_computed ? count(Math.round(row.tokens_computed)) : "not counted") },
    { name: "tokens requested", right: true, value: (row) => row.tokens_requested, cell: (row) => count(Math.round(row.tokens_requested)) },
    { name: "model calls", right: true, value: (row) => row.calls, cell: (row) => count(Math.round(row.calls)) },
    { name: "minutes", right: true, value: (row) => row.seconds, cell: (row) => minutes(row.seconds) },
    { name: "known", right: true, value: (row) => row.hit_rate, cell: (row) => percent(row.hit_rate) },
  ], rows, report.tasks.length > 1 ? [{ name: "task", value: (row) => row.task ?? "over all tasks", start: found.over_tasks.length ? "over all tasks" : null }] : [], { search: false });
}

function discardSection() {
  const node = section("discards", "Proposals that were not used");
  const sums = methods.map((method) => {
    const mine = found.rows.filter((row) => row.method === method), reasons = {};
    for (const row of mine) for (const [reason, n] of Object.entries(row.discards)) reasons[reason] = (reasons[reason] ?? 0) + n;
    return { method, reasons, proposals: mine.reduce((sum, row) => sum + row.proposals, 0), n: Object.values(reasons).reduce((sum, n) => sum + n, 0) };
  }).filter((each) => each.proposals);
  if (!sums.some((each) => each.n)) return node.append(paragraph(sums.length ? "Every proposal was used." : "There were no proposals."));
  const reasons = [...new Set(sums.flatMap((each) => Object.keys(each.reasons)))].sort((a, b) => sums.reduce((sum, each) => sum + (each.reasons[b] ?? 0) - (each.reasons[a] ?? 0), 0));
  const drawn = [...sums].reverse();
  chart(node, "Share of a method's proposals, over all tasks, that were not used, by reason; the table has the numbers", () => reasons.map((reason, i) => ({
    type: "bar", orientation: "h", name: plotText(reason, 40), y: drawn.map((_, place) => place), x: drawn.map((each) => (each.reasons[reason] ?? 0) / each.proposals),
    marker: { color: colourOf(i), pattern: { shape: i < 8 ? "" : "/" }, line: { color: colour("panel"), width: 1.5 } },
    text: drawn.map((each) => `${plotText(each.method)}, ${plotText(reason)}: ${count(each.reasons[reason] ?? 0)} of ${count(each.proposals)}`), textposition: "none", hoverinfo: "text",
  })), () => ({
    height: 130 + 36 * drawn.length, barmode: "stack", showlegend: true, legend: { orientation: "h", y: -0.3, x: 0 }, margin: { l: 80, r: 16, t: 8, b: 44 },
    xaxis: { tickformat: ".0%", rangemode: "tozero", title: { text: "of the method's proposals" } }, yaxis: { tickvals: drawn.map((_, i) => i), ticktext: drawn.map((each) => plotText(each.method, 40)), showgrid: false },
  }));
  dataTable(node, "Proposals of all runs", [
    { name: "method", value: (each) => each.method },
    { name: "proposals", right: true, value: (each) => each.proposals, cell: (each) => count(each.proposals) },
    { name: "not used", right: true, value: (each) => each.n / each.proposals, cell: (each) => `${count(each.n)} (${percent(each.n / each.proposals)})` },
    ...reasons.map((reason) => ({ name: reason, right: true, value: (each) => each.reasons[reason] ?? 0, cell: (each) => count(each.reasons[reason] ?? 0) })),
  ], sums, [], { search: false });
}

function runSection() {
  const node = section("runs", "Runs");
  node.append(paragraph("Every run has a page of its own: + shows the command that writes it, and why a run does not count.", "quiet"));
  dataTable(node, "Runs of this comparison", [
    { name: "run", value: (run) => run.run_id, cell: (run) => el("code", { text: run.run_id }), short: true },
    { name: "task", value: (run) => run.task || null }, { name: "method", value: (run) => run.method || null }, { name: "seed", right: true, value: (run) => run.seed },
    { name: "status", value: (run) => run.status, cell: (run) => el("span", { class: run.status === "finished" ? null : "warn", text: run.status }) },
    { name: "dev", right: true, value: (run) => results.get(run.run_id)?.best.dev.mean ?? null, cell: (run) => score(results.get(run.run_id)?.best.dev.mean) },
    { name: "test", right: true, value: (run) => testOf(run)?.best.mean ?? null, cell: (run) => score(testOf(run)?.best.mean) },
    { name: "gain", right: true, value: (run) => testOf(run)?.difference.mean ?? null, cell: (run) => signed(testOf(run)?.difference.mean) },
    { name: "tokens", right: true, value: (run) => (results.has(run.run_id) ? tokensOf(results.get(run.run_id).spend) : null), cell: (run) => count(results.has(run.run_id) ? tokensOf(results.get(run.run_id).spend) : null) },
  ], report.runs, [{ name: "task", value: (run) => run.task }, { name: "method", value: (run) => run.method }, { name: "status", value: (run) => run.status }], { size: 30, detail: runDetail });
  const left = report.runs.filter((run) => run.why);
  if (!left.length) return;
  node.append(el("h3", { text: "Runs that do not count" }), el("ul", {}, left.map((run) => el("li", { dir: "auto", text: `${[run.task, run.method, run.seed === null ? null : `seed ${run.seed}`].filter(Boolean).join(", ") || "A run"} (${run.run_id}), ${run.status}: ${run.why}` }))));
}

function runDetail(run) {
  const result = results.get(run.run_id), shown = commandLine(run.command, "the command");
  if (!result) return el("div", {}, run.why ? paragraph(run.why) : null, shown);
  const notes = [`Verdict: ${result.verdict}.`, result.stopped ? `The search ended early: ${result.stopped}.` : null, ...result.notes].filter(Boolean);
  return el("div", {}, list(notes), shown);
}

const commandLine = (text, what) => el("div", { class: "line" }, el("code", { text }), copyButton(text, what));

function promptSection() {
  const node = section("prompts", "Prompts that were found");
  node.append(paragraph("A score on dev was chosen for and flatters; the one on test decides. A prompt that several runs found stands here once for each.", "quiet"));
  dataTable(node, "Found prompts", [
    { name: "task", value: (run) => run.task }, { name: "method", value: (run) => `${run.method}, seed ${run.seed}` },
    { name: "test", right: true, value: (run) => run.test?.best.mean ?? null, cell: (run) => ranged(score(run.test?.best.mean), run.test?.best) },
    { name: "prompt", wide: true, value: (run) => [shownPrompt(run.best.prompt), ...run.best.prompt.demos.map((demo) => `${Object.values(demo.inputs).join(" ")} ${demo.output}`)].join("\n"), cell: promptCell },
  ], found.runs, [{ name: "task", value: (run) => run.task }, { name: "method", value: (run) => run.method }], { size: 10, detail: (run) => el("div", { class: "columns" }, promptBox("Found prompt", run.best.prompt), el("div", { class: "prompt" }, el("h3", { text: "Changes from the seed prompt" }), el("pre", { class: "verbatim", dir: "auto" }, wordDiff(run.seed_prompt.instruction, run.best.prompt.instruction)))) });
}

function promptCell(run) {
  const { prompt } = run.best, isSeed = JSON.stringify(prompt) === JSON.stringify(run.seed_prompt);
  const more = [isSeed ? "the seed prompt, which stays" : null, prompt.demos.length ? plural(prompt.demos.length, "worked example") : null].filter(Boolean).join("; ");
  return [verbatim(shownPrompt(prompt), "div"), more ? el("div", { class: "quiet", text: more }) : null, copyInstruction(prompt, `the prompt of ${run.method}, seed ${run.seed}, on ${run.task}`)].filter(Boolean);
}

function repeatSection() {
  const node = section("repeat", "To repeat it");
  node.append(el("dl", { class: "commands" }, Object.entries(report.commands).flatMap(([what, text]) => [el("dt", { text: `${what[0].toUpperCase()}${what.slice(1)}` }), el("dd", {}, el("code", { text }), copyButton(text, `the command to ${what}`))])),
    paragraph("From the beginning it is localprompt compare with the task files, methods, seeds and limits below; runs that the store has are taken as they are.", "quiet"));
  if (!found) return;
  const plainly = (value) => (value !== null && typeof value === "object" ? Object.entries(value).map(([name, part]) => `${name} ${part}`).join(", ") : value === true ? "yes" : value === false ? "no" : String(value));
  const seeds = [...new Set(report.runs.map((run) => run.seed).filter((seed) => seed !== null))];
  node.append(facts([["tasks", [...new Set(report.runs.map((run) => run.task).filter(Boolean))].join(", ")], ["methods", methods.join(", ")], ["seeds", seeds.join(", ")], ["model", found.model], ["proposer", found.proposer],
    ["tokens a search", count(found.max_tokens)], ["calls a search", found.max_calls ? count(found.max_calls) : "not limited"],
    ...Object.entries(report.configuration).filter(([, value]) => value !== null).map(([name, value]) => [{ model: "file of the model", proposer: "file of the proposer" }[name] ?? name, plainly(value)])]));
  node.append(el("h3", { text: "Settings of the methods" }));
  for (const [method, how] of Object.entries(found.methods)) {
    const changed = Object.entries(how.changed).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ");
    node.append(el("details", {}, el("summary", { text: `${method}: ${how.preset ? `preset ${how.preset}` : "not known to this version"}${changed ? `, ${changed}` : ""}` }), facts(Object.entries(how.settings).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]))));
  }
}

attempt(verdictSection);
if (found && report.tasks.length) {
  if (report.over_tasks) attempt(() => methodsOf(section("over-tasks", "Over all tasks"), report.over_tasks));
  report.tasks.forEach((task, number) => attempt(() => taskSection(task, number, report.tasks)));
  [costSection, discardSection].forEach(attempt);
}
attempt(runSection);
if (results.size) attempt(promptSection);
attempt(repeatSection);
ready();
