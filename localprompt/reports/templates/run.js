// The sections of a run.

const { candidates, dev, result, rows, verdict } = report;
const found = candidates.findIndex((each) => each.fate === "found");
const isOnePrompt = result && result.best.prompt && JSON.stringify(result.best.prompt) === JSON.stringify(result.seed_prompt);
const isSeedKept = isOnePrompt && !report.is_cross_validated;
const mostN = Math.max(0, ...candidates.map((each) => each.n));
const percent = (value) => `${percentText(value, 1).replace(/\.0$/, "")} %`;
const shown = (value) => (value === null || value === undefined ? "\u2013" : verdict.is_counted ? percent(value) : score(value));
const pointsText = (value) => percent(value).replace("%", percent(value) === "1 %" ? "point" : "points");
const shownGain = (value) => (verdict.is_counted ? `${value < 0 ? "\u2212" : "+"}${pointsText(Math.abs(value))}` : signed(value));
const minutes = (seconds) => (seconds === null || seconds === undefined ? "\u2013" : (seconds / 60).toFixed(seconds < 600 ? 2 : 1));
const time = (seconds) => new Date(1000 * seconds).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
const paragraph = (text, kind = null) => el("p", { class: kind, text });
const list = (texts, kind = null) => (texts.length ? el("ul", { class: kind }, texts.map((text) => el("li", { dir: "auto", text }))) : null);
const listed = (inputs) => (Object.keys(inputs).length === 1 ? Object.values(inputs)[0] : Object.entries(inputs).map(([name, value]) => `${name}: ${value}`).join("\n"));
const scoreFormat = verdict.is_counted ? ".0%" : ".2f";

// Operators: how prompts came about, the most frequent first; those beyond the eighth share a sign.
const operators = [...candidates.reduce((seen, each) => seen.set(each.op, (seen.get(each.op) ?? 0) + 1), new Map())].sort((a, b) => b[1] - a[1]).map(([op]) => op);
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x"];
const signOf = (op) => Math.min(operators.indexOf(op), 7);

function drawVerdict() {
  const node = section("verdict", "Verdict");
  node.append(...verdict.state.map((text) => paragraph(text, "banner")));
  node.append(paragraph(verdict.headline.replace(/ (%|\u2192)/g, "\u00a0$1").replace(/\u2192 /g, "\u2192\u00a0"), `headline ${verdict.tone}`));
  const when = report.updated ? `, ${time(report.created)} to ${time(report.updated)}` : "";
  node.append(paragraph(`Run ${report.run_id}: ${report.method} on ${report.task} with ${report.model}${report.proposer !== report.model ? `, prompts by ${report.proposer}` : ""}, ${report.status}${report.imported ? ", imported" : ""}${when}`, "quiet"));
  if (report.objective !== "score") node.append(paragraph(`The search maximised the objective ${report.objective}: dev scores are of a prompt with its variants, test scores of prompts as they are.`, "quiet"));
  if (!result) {
    const best = report.best_so_far[report.best_so_far.length - 1];
    node.append(best ? promptBox("Best prompt so far", candidates[best.candidate].prompt) : paragraph("There is no prompt to show.", "quiet"));
  } else {
    if (result.test) node.append(scoreTable(result.test));
    const second = result.runner_up;
    const other = isOnePrompt ? (second ? promptBox("Runner-up", second.prompt) : null) : promptBox("Seed prompt", result.seed_prompt);
    node.append(el("div", { class: "columns" }, promptBox(isOnePrompt ? "Seed prompt, which stays" : "Found prompt", result.best.prompt), other));
    if (second && !isOnePrompt) node.append(el("details", {}, el("summary", { text: "Runner-up" }), promptBox("Runner-up", second.prompt)));
    if (verdict.reasons.length) node.append(el("h3", { text: "What that rests on" }), list(verdict.reasons));
    node.append(el("h3", { text: "What it cost" }), costTable());
    if (result.operators.length) node.append(el("h3", { text: "What paid" }), operatorTable());
  }
  if (report.notes.length) node.append(el("h3", { text: "Notes" }), list(report.notes));
  if (report.left_out.length) node.append(el("h3", { text: "Not on this page" }), list(report.left_out));
}

function scoreTable(test) {
  const line = (name, value, picture, tone) => el("tr", {}, el("th", { scope: "row", text: name }), el("td", { class: "picture" }, picture),
    el("td", { class: `right strong tone-${tone}`, text: value.shown }), el("td", { class: "right", text: value.interval }), el("td", { class: "right", text: count(value.n) }));
  const of = (name, value, tone) => line(name, { shown: shown(value.mean), interval: `${shown(value.low)} to ${shown(value.high)}`, n: value.n }, intervalPicture(value, { tone, line: test.constant ? test.constant.score : null }), "text");
  const scale = (...marks) => el("div", { class: "scale", "aria-hidden": "true" }, marks.map((text) => el("span", { text })));
  const lines = [of("Seed prompt", test.seed, "seed")];
  if (!isSeedKept) lines.push(of("Found prompt", test.best, "accent"));
  for (const [name, value, tone] of [["Seed", test.seed_variants, "seed"], ["Found", test.best_variants, "accent"]])
    if (value) lines.push(of(`${name}, mean of variants`, value.mean, tone), of(`${name}, worst: ${value.change}`, value.worst, tone));
  const gain = test.difference, noise = result.noise ? result.noise.floor : 0;
  const reach = Math.min(1, 1.15 * Math.max(Math.abs(gain.low), Math.abs(gain.high), noise, 0.02));
  const tone = verdict.tone === "open" ? "quiet" : verdict.tone;
  const about = [test.constant ? `Dashed in the upper scale: what one constant answer scores, ${shown(test.constant.score)}.` : null];
  if (!isSeedKept) {
    lines.push(el("tr", { class: "scales" }, el("td"), el("td", { class: "picture" }, scale(...[-reach, 0, reach].map((value) => (value ? shownGain(value).split(" ")[0] : "0")))), el("td", { colspan: "3" })));
    lines.push(line("Difference", { shown: shownGain(gain.mean), interval: `${shownGain(gain.low).split(" ")[0]} to ${shownGain(gain.high)}`, n: gain.n },
      intervalPicture(gain, { from: -reach, to: reach, tone, line: 0, band: noise }), tone));
    if (noise) about.push(`Grey in the lower scale: the noise, ${verdict.is_counted ? pointsText(noise) : score(noise)} to either side.`);
  }
  const heads = ["Prompt", scale(shown(0), shown(0.5), shown(1)), "Test score", "95 % interval", "Examples"];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores on test" }, el("table", { class: "scores" },
    el("caption", { text: ["Scores on test with 95 % intervals.", ...about].filter(Boolean).join(" ") }),
    el("thead", {}, el("tr", {}, heads.map((head, i) => (i === 1 ? el("td", { class: "picture" }, head) : el("th", { scope: "col", class: i > 1 ? "right" : null, text: head }))))),
    el("tbody", {}, lines)));
}

function costTable() {
  const line = (name, spend) => el("tr", {}, el("th", { scope: "row", text: name }), [spend.tokens_computed ? count(spend.tokens_computed) : "not counted", count(spend.calls), minutes(spend.seconds)].map((text) => el("td", { class: "right", text })));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What it cost" }, el("table", { class: "narrow" },
    el("caption", { text: "The final evaluation measures the noise, unused rows for the choice, and test." }),
    el("thead", {}, el("tr", {}, el("td"), ["Tokens computed", "Model calls", "Minutes"].map((name) => el("th", { scope: "col", class: "right", text: name })))),
    el("tbody", {}, line("Search", { ...result.spend, seconds: report.seconds ?? result.spend.seconds }), line("Final evaluation", result.proof))));
}

function operatorTable() {
  const line = (each) => el("tr", {}, el("th", { scope: "row", text: each.operator }), [each.gain ? shownGain(each.gain) : "none", count(each.turns), count(each.proposals), count(each.tokens), `${Math.round(100 * each.share)} %`].map((text) => el("td", { class: "right", text })));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What paid" }, el("table", { class: "narrow" },
    el("caption", { text: "By how much each operator raised the best score on dev, and its share of the tokens of all turns." }),
    el("thead", {}, el("tr", {}, el("td"), ["Gain", "Turns", "New prompts", "Tokens", "Share"].map((name) => el("th", { scope: "col", class: "right", text: name })))),
    el("tbody", {}, result.operators.map(line))));
}

// Return the candidates that are drawn as dots, and a sentence where those are not all: many dots take seconds.
function dotsOf(scored) {
  const most = 600, isFirst = (each) => each.n === mostN || ["found", "seed", "runner-up"].includes(each.fate);
  const first = scored.filter(isFirst).slice(0, most), others = scored.filter((each) => !isFirst(each));
  const step = Math.ceil(others.length / Math.max(1, most - first.length));
  const some = step > 1 ? others.filter((_, i) => i % step === 0) : others;
  const drawn = [...first, ...some].sort((a, b) => a.place - b.place);
  return [drawn, drawn.length < scored.length ? ` Drawn are ${count(drawn.length)} of ${count(scored.length)} candidates: those that were scored on most examples, and of the others one in ${count(step)}.` : ""];
}

function drawProgress() {
  const node = section("progress", "Progress");
  const scored = candidates.map((each, place) => ({ ...each, place })).filter((each) => each.mean !== null);
  if (!scored.length) return node.append(paragraph("No prompt was scored on dev yet.", "quiet"));
  const axes = { order: { name: "order of appearance", title: "candidates in their order", of: (each) => each.place + 1, stage: () => null } };
  if (scored.some((each) => each.tokens !== null)) axes.tokens = { name: "tokens computed", title: "tokens computed by the search", of: (each) => each.tokens, stage: (each) => each.tokens, spent: result?.spend.tokens_computed, limit: report.limit };
  if (axes.tokens && scored.some((each) => each.seconds > 0)) axes.minutes = { name: "minutes", title: "minutes of model calls", of: (each) => (each.seconds === null ? null : each.seconds / 60), stage: (each) => (each.seconds === null ? null : each.seconds / 60), spent: (report.seconds ?? 0) / 60 };
  let axis = axes.tokens ?? axes.order;
  const steps = () => {
    let last = 0;
    return report.best_so_far.map((each) => {
      const x = axis === axes.order ? each.candidate + 1 : axis.of(each);
      return { x: (last = Math.max(last, x ?? last)), y: each.mean };
    });
  };
  const known = new Map(); // axis to how far it reaches and what is marked on it
  const once = (make) => (...given) => {
    const key = make.name + axis.name;
    if (!known.has(key)) known.set(key, make(...given));
    return known.get(key);
  };
  const reach = once(function reach() { return Math.max(axis.spent ?? 0, ...scored.map((each) => axis.of(each) ?? 0), ...steps().map((each) => each.x)); });
  const isLimitNear = () => axis.limit && axis.limit <= 2 * reach();
  const marks = once(function marks() {
    const found = [];
    for (const stage of phases()) {
      const x = axis.stage(stage);
      if (x !== null && (!found.length || x - found[found.length - 1].x > (90 * reach()) / Math.max(200, main.clientWidth - 120))) found.push({ x, text: stage.name }); // room for the name
    }
    return found;
  });
  const hover = (each) => `${plotText(shownPrompt(each.prompt), 240)}<br>${plotText(`${shown(each.mean)} on ${each.n} dev examples, ${describe(each)}`)}`;
  const isCrowded = scored.length > 400;
  const [dotted, cut] = dotsOf(scored);
  const traces = () => {
    const line = steps();
    if (line.length) line.push({ x: reach(), y: line[line.length - 1].y });
    const groups = new Map();
    for (const each of dotted) {
      if (!groups.has(signOf(each.op))) groups.set(signOf(each.op), []);
      groups.get(signOf(each.op)).push(each);
    }
    const dots = [...groups].sort((a, b) => a[0] - b[0]).map(([sign, group]) => ({
      type: "scatter", mode: "markers", name: plotText(sign === 7 && operators.length > 8 ? "other" : operators[sign], 40),
      x: group.map(axis.of), y: group.map((each) => each.mean), text: group.map(hover), hoverinfo: "text", customdata: group.map((each) => each.place), cliponaxis: isCrowded,
      marker: {
        color: colourOf(sign), size: group.map((each) => (isCrowded ? 0.6 : 1) * (6 + 5 * Math.sqrt(each.n / mostN))), opacity: group.map((each) => (isCrowded && each.n < mostN ? 0.35 : 0.9)),
        symbol: group.map((each) => SYMBOLS[sign] + (each.n < mostN ? "-open" : "")), line: { width: 1.5, color: group.map((each) => (each.n < mostN ? colourOf(sign) : colour("panel"))) },
      },
    }));
    const best = { type: "scatter", mode: "lines", name: "best so far", x: line.map((each) => each.x), y: line.map((each) => each.y), line: { shape: "hv", color: colour("text"), width: 2.5 }, hoverinfo: "skip" };
    return [...dots, best];
  };
  const layout = () => ({
    height: 420, showlegend: true, legend: { orientation: "h", y: -0.22, x: 0, itemsizing: "constant" }, margin: { l: 56, r: 16, t: marks().length ? 34 : 12, b: 48 },
    xaxis: { title: { text: axis.title }, range: [-0.02 * reach(), (isLimitNear() ? Math.max(axis.limit, reach()) : reach()) * 1.03], tickformat: axis === axes.minutes ? "" : ",d", rangemode: "tozero" },
    yaxis: { title: { text: "dev score" }, tickformat: scoreFormat, rangemode: "tozero" },
    shapes: [
      ...marks().map(({ x }) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: colour("line"), width: 1.5, dash: "dot" } })),
      ...(isLimitNear() ? [{ type: "line", x0: axis.limit, x1: axis.limit, yref: "paper", y0: 0, y1: 1, line: { color: colour("bad"), width: 1.5, dash: "dash" } }] : []),
    ],
    annotations: [
      ...marks().map(({ x, text }) => ({ x, yref: "paper", y: 1, yanchor: "bottom", xanchor: "left", showarrow: false, text: plotText(text, 24), font: { size: 11, color: colour("quiet") } })),
      ...(isLimitNear() ? [{ x: axis.limit, yref: "paper", y: 0.02, yanchor: "bottom", xanchor: "right", showarrow: false, text: "budget", font: { size: 12, color: colour("bad") } }] : []),
    ],
  });
  const status = el("p", { class: "quiet", role: "status" });
  const say = () => {
    const limit = axis.limit ? ` The search was allowed ${count(axis.limit)} tokens${isLimitNear() ? ": the dashed line" : ", more than twice of what is drawn"}.` : "";
    status.textContent = `${count(scored.length)} of ${count(candidates.length)} candidates were scored.${limit}`;
  };
  const choices = [axes.tokens, axes.minutes, axes.order].filter(Boolean);
  const place = el("div");
  const controls = el("fieldset", { class: "controls" }, el("legend", { class: "offscreen", text: "Axis" }), choices.map((each) => el("label", {}, el("input", { type: "radio", name: "axis", value: each.name, checked: each === axis, on: { change: () => { axis = each; drawing.redraw(); say(); } } }), ` ${each.name}`)));
  node.append(choices.length > 1 ? controls : paragraph("This run was made before it was noted what had been computed when a prompt was scored: prompts stand in their order.", "quiet"), place, status);
  const drawing = chart(place, `Scores on dev. The line is the best prompt so far, each sign a candidate where it was first scored, with its score on all examples that it was given since. Hollow signs were scored on fewer than ${count(mostN)} dev examples, the smaller the fewer: such scores flatter.${cut} A click leads to the prompt in the lineage.`, traces, layout, (point) => point.customdata !== undefined && reveal(point.customdata));
  say();
  if (report.stages.length) {
    const steps = el("details", {}, el("summary", { text: `What the search did, step by step (${count(report.stages.length)})` }));
    node.append(steps);
    dataTable(steps, "Steps of the search", [
      { name: "Step", value: (row) => row.text },
      { name: "Tokens before", value: (row) => row.tokens, cell: (row) => count(row.tokens), right: true },
      { name: "Minutes before", value: (row) => row.seconds, cell: (row) => minutes(row.seconds), right: true },
      { name: "At", value: (row) => row.at, cell: (row) => time(row.at), right: true },
    ], report.stages);
  }
}

// Return where the parts of the search begin: its rounds or steps; else where the proposer was asked.
function phases() {
  const seen = new Set();
  const parts = report.stages.map((each) => ({ ...each, name: (each.text.match(/^([^:]{1,40}?): /) ?? [])[1] })).filter(({ name }) => name && !seen.has(name) && seen.add(name));
  return parts.length ? parts : report.stages.filter((each) => each.text.startsWith("asking the proposer")).map((each) => ({ ...each, name: "new prompts" }));
}

// The tree of candidates. A parent that was found later than its child, which no search makes, is none: so there are no circles.
const parentOf = candidates.map((each, place) => each.parents.find((parent) => parent < place) ?? null);
const childrenOf = candidates.map(() => []);
parentOf.forEach((parent, place) => parent !== null && childrenOf[parent].push(place));
const bestPlace = found >= 0 ? found : candidates.reduce((best, each, place) => (each.mean !== null && (best < 0 || each.n > candidates[best].n || (each.n === candidates[best].n && each.mean > candidates[best].mean)) ? place : best), -1);
const lineOf = (place) => { const line = []; for (let at = place; at !== null && at >= 0; at = parentOf[at]) line.unshift(at); return line; };
const bestLine = lineOf(bestPlace);
const onBestLine = new Set(bestLine);
const byScore = (a, b) => onBestLine.has(b) - onBestLine.has(a) || candidates[b].n - candidates[a].n || (candidates[b].mean ?? -1) - (candidates[a].mean ?? -1) || a - b;
const nodes = new Map(); // place to what draws its children
const AT_FIRST = 200, AT_ONCE = 50, DEEPEST = 150; // lists in each other that a browser can draw
let roots;

const describe = (each) => [each.op, each.fate === "measured" || each.fate === "not measured" ? null : each.fate === "found" || each.fate === "seed" ? `${each.fate} prompt` : each.fate].filter(Boolean).join(", ");

function drawLineage() {
  const node = section("lineage", "Lineage");
  if (!candidates.length) return node.append(paragraph("No prompt was entered yet.", "quiet"));
  if (bestLine.length > 1) {
    const steps = bestLine.length > 30 ? [...bestLine.slice(0, 5), ...bestLine.slice(-25)] : bestLine;
    const line = el("ol", { class: "steps" }, steps.map((place) => el("li", {}, facetsOf(place), changesOf(place))));
    node.append(el("h3", { text: found >= 0 ? "How the found prompt came about" : result ? "How the highest score on dev came about" : "How the best prompt so far came about" }), line);
    if (steps.length < bestLine.length) node.append(paragraph(`${count(bestLine.length - steps.length)} steps between the fifth and the last 25 are in the tree only.`, "quiet"));
  }
  if (bestLine.length === 1 && found >= 0) node.append(paragraph(`The found prompt was made from no other prompt (${candidates[found].op}).`));
  node.append(el("h3", { text: "All candidates as a tree" }), paragraph("A prompt stands below the one that it was made from; prompts that were written anew stand at the top. The line to the best one is open.", "quiet"));
  const all = candidates.map((_, place) => place).filter((place) => parentOf[place] === null).sort(byScore);
  roots = branch(all);
  node.append(roots.list);
  const room = Math.min(12, Math.max(3, Math.floor(AT_FIRST / (bestLine.length + 1))));
  roots.show(room);
  for (const place of bestLine.slice(0, Math.floor(AT_FIRST / 4))) if (nodes.get(place)?.kids) nodes.get(place).open(room);
  node.append(el("h3", { text: "All candidates as a table" }));
  dataTable(node, "Candidates of the search", [
    { name: "#", value: (row) => row.place + 1, right: true },
    { name: "Prompt", wide: true, value: (row) => [shownPrompt(row.prompt), ...row.prompt.demos.map((demo) => `${listed(demo.inputs)} ${demo.output}`)].join("\n"), cell: (row) => shortPrompt(row.prompt) },
    { name: "Dev score", value: (row) => row.mean, cell: (row) => shown(row.mean), right: true },
    { name: "Examples", value: (row) => row.n, cell: (row) => count(row.n), right: true },
    { name: "Operator", value: (row) => row.op, short: true },
    { name: "At tokens", value: (row) => row.tokens, cell: (row) => count(row.tokens), right: true },
    { name: "Characters", value: (row) => row.characters, cell: (row) => count(row.characters), right: true },
    { name: "Fate", value: (row) => row.fate, short: true },
  ], candidates.map((each, place) => ({ ...each, place })), [{ name: "Operator", value: (row) => row.op }, { name: "Fate", value: (row) => row.fate }],
  { size: 10, detail: (row) => detailOf(row.place) });
}

const shortPrompt = (prompt) => el("div", { class: "verbatim", dir: "auto", text: shortened(shownPrompt(prompt)) + (prompt.demos.length ? ` (+ ${plural(prompt.demos.length, "worked example")})` : "") });

// Return operator, score, tokens and fate of a candidate in a line.
function facetsOf(place, kids = 0) {
  const each = candidates[place];
  const sign = svg("svg", { class: `sign tone-c${signOf(each.op) + 1}`, width: "10", height: "10", "aria-hidden": "true" }, svg("circle", { cx: "5", cy: "5", r: "5", fill: "currentColor" }));
  const parts = [each.mean === null ? (each.nats === null ? "not scored" : `${each.nats.toFixed(3)} nats`) : `${shown(each.mean)} on ${count(each.n)}`, each.tokens === null ? null : `at ${count(each.tokens)} tokens`];
  return el("span", { class: "facets" }, el("span", { class: "operator" }, sign, ` ${visible(each.op)}`), parts.filter(Boolean).map((text) => el("span", { text })),
    ["found", "seed", "runner-up"].includes(each.fate) ? el("span", { class: `fate fate-${each.fate}`, text: each.fate }) : null,
    kids ? el("span", { text: `${count(kids)} made from it` }) : null);
}

// Return what is different from the parent, in words and as marked text.
function changesOf(place) {
  const { prompt } = candidates[place], parent = parentOf[place] === null ? null : candidates[parentOf[place]].prompt;
  if (!parent) return el("div", {}, verbatim(shownPrompt(prompt)), prompt.demos.length ? paragraph(`with ${plural(prompt.demos.length, "worked example")}`, "quiet") : null);
  const parts = [parent.instruction === prompt.instruction
    ? paragraph("The instruction is the same.", "quiet")
    : inPlace(parent.instruction.length + prompt.instruction.length, el("pre", { class: "verbatim", dir: "auto" }, wordDiff(parent.instruction, prompt.instruction)))];
  const [before, after] = [parent, prompt].map((each) => new Set(each.demos.map((demo) => JSON.stringify(demo))));
  const added = [...after].filter((each) => !before.has(each)).length, gone = [...before].filter((each) => !after.has(each)).length;
  if (added || gone) parts.push(paragraph(`Worked examples: ${parent.demos.length} before, ${prompt.demos.length} now (${added} new, ${gone} left out).`, "quiet"));
  else if (parent.demos.length !== prompt.demos.length || JSON.stringify(parent.demos) !== JSON.stringify(prompt.demos)) parts.push(paragraph("The worked examples stand in another order.", "quiet"));
  return el("div", {}, parts);
}

function detailOf(place) {
  const each = candidates[place];
  const fates = {
    found: "The found prompt.", seed: "The seed prompt, which the others had to beat.", "runner-up": "It came second.",
    measured: each.n && each.n < mostN ? `Scored on ${count(each.n)} of ${count(mostN)} dev examples, then others were preferred.` : "Scored, and another prompt was chosen.", "not measured": "It was never scored.",
  };
  const others = each.parents.filter((parent) => parent !== parentOf[place]);
  const position = parentOf[place] === null ? null : el("div", {}, el("h4", { text: "Changed from its parent" }), changesOf(place));
  return el("div", { class: "candidate" }, paragraph(fates[each.fate]), position, others.length ? paragraph(`Also made from number ${others.map((parent) => parent + 1).join(", ")}.`, "quiet") : null, promptBox(`Prompt ${place + 1}`, each.prompt));
}

// Return a list of candidates, of which `show` draws some more and `one` a certain one.
function branch(places) {
  const list = el("ul", { class: "tree" }), more = el("li", { class: "more" }), drawnPlaces = new Set();
  const one = (place) => {
    if (drawnPlaces.has(place)) return;
    drawnPlaces.add(place);
    list.insertBefore(drawNode(place), more);
    update();
  };
  const update = () => {
    const left = places.length - drawnPlaces.size;
    more.hidden = !left;
    button.textContent = left > AT_ONCE ? `Show ${AT_ONCE} more of ${count(left)}` : `Show ${left} more`;
  };
  const show = (most) => { for (const place of places.filter((each) => !drawnPlaces.has(each)).slice(0, most)) one(place); update(); };
  const button = el("button", { type: "button", on: { click: () => show(AT_ONCE) } });
  more.append(button);
  list.append(more);
  return { list, show, one };
}

function drawNode(place) {
  const each = candidates[place], kids = childrenOf[place];
  const detail = el("div", { class: "detail", hidden: true });
  const item = el("li", { id: `candidate-${place + 1}` });
  const name = `prompt ${place + 1}`;
  const text = el("button", { type: "button", class: "node", "aria-expanded": "false", "data-key": `text ${each.prompt_id}`, dir: "auto", text: shortened(shownPrompt(each.prompt), 140) + (each.prompt.demos.length ? ` (+ ${plural(each.prompt.demos.length, "worked example")})` : "") });
  const unfold = (isOpen) => {
    if (isOpen && !detail.childElementCount) detail.append(detailOf(place));
    detail.hidden = !isOpen;
    text.setAttribute("aria-expanded", String(isOpen));
  };
  text.addEventListener("click", () => unfold(detail.hidden));
  let toggle = null, below = null;
  const open = (most = AT_ONCE) => {
    if (below || !kids.length) return;
    below = branch([...kids].sort(byScore));
    item.append(below.list);
    below.show(most);
    toggle.setAttribute("aria-expanded", "true");
    toggle.textContent = "\u2212";
  };
  const close = () => {
    below.list.remove();
    below = null;
    toggle.setAttribute("aria-expanded", "false");
    toggle.textContent = "+";
  };
  if (kids.length) toggle = el("button", { type: "button", class: "expand", "aria-expanded": "false", "data-key": `kids ${each.prompt_id}`, "aria-label": `Prompts made from ${name}`, text: "+", on: { click: () => (below ? close() : open()) } });
  item.append(el("div", { class: "line" }, toggle ?? el("span", { class: "leaf" }), el("div", {}, text, onPaper(text.textContent), facetsOf(place, kids.length))), detail);
  nodes.set(place, { open, unfold, text, kids: kids.length, one: (child) => { open(); below.one(child); } });
  return item;
}

// Show a candidate in the tree, with all that leads to it.
function reveal(place) {
  const line = lineOf(place);
  if (line.length > DEEPEST) return revealFlat(place, line.length);
  roots.one(line[0]);
  line.slice(1).forEach((each, i) => nodes.get(line[i]).one(each));
  const { text, unfold } = nodes.get(place);
  unfold(true);
  text.focus({ preventScroll: true });
  text.scrollIntoView({ block: "center" });
}

// Show a candidate that has too many ancestors for a tree below the tree.
function revealFlat(place, depth) {
  document.getElementById("deep")?.remove();
  const shownHere = el("div", { id: "deep", tabindex: "-1" }, paragraph(`This candidate is ${count(depth)} steps deep, too deep for the tree.`, "quiet"), facetsOf(place), detailOf(place));
  roots.list.after(shownHere);
  shownHere.focus({ preventScroll: true });
  shownHere.scrollIntoView({ block: "center" });
}

function drawRows() {
  const node = section("rows", "Test rows");
  if (!rows.length) return node.append(paragraph(result ? (result.test ? "The store does not have the answers on test of this run." : "Nothing was measured on test.") : "Test rows are measured once, at the end of a run.", "quiet"));
  const ranks = ["fixed", "broken", "still wrong", "still right"];
  const tally = ranks.map((rank) => rows.filter((row) => row.change === rank).length);
  node.append(el("ul", { class: "chips" }, ranks.map((rank, i) => el("li", { class: `change-${rank.replace(" ", "-")}` }, el("strong", { text: count(tally[i]) }), ` ${rank}`))));
  if (isSeedKept) node.append(paragraph("The seed prompt stayed, so both answers are its own.", "quiet"));
  if (report.is_cross_validated) node.append(paragraph("Each row was answered with the seed prompt and the found prompt of the search that did not see it.", "quiet"));
  const hasMargins = rows.some((row) => row.before.margin !== null || row.after.margin !== null);
  const sorted = [...rows].sort((a, b) => ranks.indexOf(a.change) - ranks.indexOf(b.change));
  const answer = (outcome) => (outcome.failed ? "(failed)" : outcome.completion?.trim() || outcome.prediction || "(no answer)");
  const cell = (text) => el("div", { class: "verbatim", dir: "auto", text: shortened(text) });
  dataTable(node, "Test rows before, with the seed prompt, and after, with the found prompt", [
    { name: "Change", short: true, value: (row) => row.change, cell: (row) => el("span", { class: `change-${row.change.replace(" ", "-")}`, text: row.change }) },
    { name: "Input", wide: true, value: (row) => listed(row.inputs), cell: (row) => cell(listed(row.inputs)) },
    { name: "Target", value: (row) => row.targets.join(" | "), cell: (row) => cell(row.targets.join(" | ")) },
    { name: "Answer before", value: (row) => answer(row.before), cell: (row) => cell(answer(row.before)) },
    { name: "Answer after", value: (row) => answer(row.after), cell: (row) => cell(answer(row.after)) },
    ...(hasMargins ? [{ name: "Margin before", value: (row) => row.before.margin, cell: (row) => nats(row.before.margin), right: true }, { name: "Margin after", value: (row) => row.after.margin, cell: (row) => nats(row.after.margin), right: true }] : []),
    ...(verdict.is_counted ? [] : [{ name: "Score before", value: (row) => row.before.score, cell: (row) => score(row.before.score), right: true }, { name: "Score after", value: (row) => row.after.score, cell: (row) => score(row.after.score), right: true }]),
  ], sorted, [{ name: "Change", value: (row) => row.change }], { size: 15, detail: rowDetail });
  if (hasMargins) node.append(paragraph("Margin: nats by which the right label is more probable than the best wrong one; below 0 the answer is wrong.", "quiet"));
  if (report.confusion) drawConfusion(node, report.confusion);
}

const nats = (value) => (value === null ? "\u2013" : signed(value, 2));

function rowDetail(row) {
  const side = (title, outcome) => el("div", { class: "prompt" }, el("h4", { text: title }), outcome.failed ? paragraph("The request killed the engine, or did not fit.", "bad") : null,
    outcome.completion === null ? null : verbatim(outcome.completion || "(an empty completion)"),
    facts([["answer", outcome.prediction ?? "none could be read"], ["score", verdict.is_counted ? (outcome.score ? "1, right" : "0, wrong") : score(outcome.score)], ...(outcome.margin === null ? [] : [["margin", `${nats(outcome.margin)} nats`]])]));
  return el("div", {}, facts([["row", row.example_id], ...Object.entries(row.inputs).map(([name, value]) => [name, verbatim(value, "div")]), [row.targets.length > 1 ? "targets" : "target", verbatim(row.targets.join("\n"), "div")]]),
    el("div", { class: "columns" }, side("With the seed prompt", row.before), side("With the found prompt", row.after)));
}

function drawConfusion(node, { labels, answers, before, after }) {
  node.append(el("h3", { text: "Labels (rows) and the answers that they got (columns)" }));
  if (labels.length > 12) {
    const pairs = labels.flatMap((label, i) => answers.map((answer, j) => ({ label, answer: answer || "(no answer)", before: before[i][j], after: after[i][j], isWrong: label !== answer }))).filter((each) => each.isWrong && (each.before || each.after));
    return dataTable(node, "Wrong answers by label", [
      { name: "Label", value: (row) => row.label }, { name: "Answer", value: (row) => row.answer },
      { name: "Seed prompt", value: (row) => row.before, right: true }, { name: "Found prompt", value: (row) => row.after, right: true },
    ], pairs.sort((a, b) => b.after - a.after || b.before - a.before), [], { size: 12 });
  }
  const matrix = (title, cells) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, el("table", { class: "confusion" }, el("caption", { text: title }),
    el("thead", {}, el("tr", {}, el("td"), answers.map((answer) => el("th", { scope: "col", dir: "auto", text: answer || "(no answer)" })))),
    el("tbody", {}, labels.map((label, i) => el("tr", {}, el("th", { scope: "row", dir: "auto", text: label }), answers.map((answer, j) => {
      const total = cells[i].reduce((sum, each) => sum + each, 0);
      return el("td", { class: `right ${label === answer ? "hit" : "miss"} shade-${total ? Math.ceil((5 * cells[i][j]) / total) : 0}`, text: count(cells[i][j]) });
    }))))));
  node.append(el("div", { class: "columns" }, matrix("Seed prompt", before), isSeedKept ? null : matrix("Found prompt", after)));
}

function drawScores() {
  const node = section("scores", "Scores");
  const measured = candidates.map((each, place) => ({ ...each, place })).filter((each) => each.rows.length);
  node.append(el("h3", { text: "Candidates and dev examples" }));
  if (measured.length) drawHeatMap(node, measured);
  else node.append(paragraph("No scores on single dev examples are here.", "quiet"));
  node.append(el("h3", { text: "Score and length" }));
  const scored = candidates.map((each, place) => ({ ...each, place })).filter((each) => each.mean !== null);
  if (scored.length) drawLengths(node, scored);
  else node.append(paragraph("No prompt was scored on dev yet.", "quiet"));
}

function drawHeatMap(node, measured) {
  const isDevCounted = measured.every((each) => each.scores.every((one) => one === 0 || one === 1));
  const some = [...measured].sort((a, b) => b.n - a.n || b.mean - a.mean).slice(0, 200).reverse();
  const sums = dev.map(() => [0, 0]);
  for (const each of measured) each.rows.forEach((row, i) => { sums[row][0] += each.scores[i]; sums[row][1]++; });
  const order = dev.map((_, row) => row).filter((row) => sums[row][1]).sort((a, b) => sums[b][1] - sums[a][1]).slice(0, 500).sort((a, b) => sums[a][0] / sums[a][1] - sums[b][0] / sums[b][1]);
  const column = new Map(order.map((row, i) => [row, i]));
  const z = some.map((each) => {
    const line = new Array(order.length).fill(null);
    each.rows.forEach((row, i) => column.has(row) && (line[column.get(row)] = each.scores[i]));
    return line;
  });
  const cut = some.length < measured.length || order.length < dev.length ? ` Drawn are the ${count(some.length)} candidates that were scored on most examples, of ${count(measured.length)}, and ${count(order.length)} of ${count(dev.length)} examples.` : "";
  const pointed = el("div", { class: "pointed" }, paragraph("Point at a cell: its prompt and its example are shown here.", "quiet"));
  const drawing = chart(node, `A row is a candidate: at the top those that were measured on most, the best first. A column is a dev example, the hardest on the left. ${isDevCounted ? "Blue is right, amber is wrong" : "Blue is a high score, amber a low one"}, blank was not measured.${cut} A click leads to the prompt.`,
    () => [{ type: "heatmap", z, hoverinfo: "none", hoverongaps: false, zmin: 0, zmax: 1, xgap: order.length > 120 ? 0 : 1, ygap: some.length > 60 ? 0 : 1, colorscale: [[0, colour("heat-low")], [1, colour("heat-high")]], showscale: !isDevCounted }],
    () => ({
      height: Math.max(220, Math.min(640, 90 + 14 * some.length)),
      xaxis: { title: { text: `${count(order.length)} dev examples, from hard to easy` }, showticklabels: false, ticks: "", showgrid: false, zeroline: false },
      yaxis: { title: { text: `${count(some.length)} candidates` }, showticklabels: false, ticks: "", showgrid: false, zeroline: false },
    }), (point) => reveal(some[point.pointIndex[0]].place));
  node.append(pointed);
  drawn[drawn.length - 1].then(() => drawing.on("plotly_hover", ({ points: [{ pointIndex: [line, at], z: value }] }) => {
    const each = some[line], example = dev[order[at]];
    pointed.replaceChildren(
      el("div", {}, verbatim(shortened(shownPrompt(each.prompt), 240), "div"), paragraph(`${shown(each.mean)} on ${count(each.n)} dev examples, ${describe(each)}`, "quiet")),
      el("div", {}, verbatim(shortened(listed(example.inputs), 240), "div"), paragraph(`target: ${shortened(example.targets.join(" | "), 80)}; score ${score(value)}`, "quiet")));
  }));
}

function drawLengths(node, scored) {
  const key = (prompt) => JSON.stringify([prompt.instruction, prompt.demos]);
  const front = new Map((result?.front ?? []).map((each) => [key(each.prompt), each]));
  const onFront = scored.filter((each) => front.has(key(each.prompt))).sort((a, b) => a.characters - b.characters);
  const [dotted, cut] = dotsOf(scored);
  const hover = (each) => `${plotText(shownPrompt(each.prompt), 240)}<br>${plotText(`${shown(each.mean)} on ${each.n} dev examples, ${count(each.characters)} characters, ${describe(each)}`)}`;
  const dots = (group, name, marker) => ({ type: "scatter", mode: "markers", name, x: group.map((each) => each.characters), y: group.map((each) => each.mean), text: group.map(hover), hoverinfo: "text", customdata: group.map((each) => each.place), marker });
  chart(node, `Dev score against the characters of instruction and worked examples. Hollow: scored on fewer than ${count(mostN)} examples.${onFront.length ? " The line joins the prompts that no other beats in both score and tokens." : ""}${cut}`,
    () => [
      ...(onFront.length ? [{ type: "scatter", mode: "lines", name: "not beaten in score and tokens", x: onFront.map((each) => each.characters), y: onFront.map((each) => front.get(key(each.prompt)).mean), line: { color: colour("seed"), width: 2, shape: "hv" }, hoverinfo: "skip" }] : []),
      dots(dotted.filter((each) => each.n < mostN), "on fewer examples", { symbol: "circle-open", size: scored.length > 400 ? 5 : 7, opacity: scored.length > 400 ? 0.35 : 0.9, color: colour("quiet"), line: { width: 1.5 } }),
      dots(dotted.filter((each) => each.n === mostN), "on most examples", { symbol: "circle", size: 9, color: colour("accent") }),
    ],
    () => ({ showlegend: true, legend: { orientation: "h", y: -0.25, x: 0 }, xaxis: { title: { text: "characters" }, rangemode: "tozero", tickformat: ",d" }, yaxis: { title: { text: "dev score" }, tickformat: scoreFormat, rangemode: "tozero" } }),
    (point) => point.customdata !== undefined && reveal(point.customdata));
  if (front.size) {
    const steps = el("details", {}, el("summary", { text: `Prompts that no other beats in both score and length (${count(front.size)})` }));
    node.append(steps);
    dataTable(steps, "Prompts that no other beats in both score and length", [
      { name: "Tokens", value: (row) => row.tokens, cell: (row) => count(row.tokens), right: true },
      { name: "Dev score", value: (row) => row.mean, cell: (row) => shown(row.mean), right: true },
      { name: "Prompt", wide: true, value: (row) => shownPrompt(row.prompt), cell: (row) => shortPrompt(row.prompt) },
    ], result.front, [], { detail: (row) => promptBox("Prompt", row.prompt) });
  }
}

// Return a list of texts, of which a button draws more.
function longList(texts, size = 20) {
  const node = el("ul", { class: "texts" }), more = el("button", { type: "button", on: { click: () => show(5 * size) } }), last = el("li", { class: "more" }, more);
  let at = 0;
  node.append(last);
  const show = (most) => {
    for (const text of texts.slice(at, at + most)) last.before(el("li", {}, text.trim() ? verbatim(text) : paragraph("(empty)", "quiet")));
    at = Math.min(texts.length, at + most);
    last.hidden = at >= texts.length;
    more.textContent = `Show more of ${count(texts.length - at)}`;
  };
  show(size);
  return node;
}

function drawDiscards() {
  const node = section("discards", "Discarded proposals");
  if (!report.discards.length) return node.append(paragraph("No proposal was discarded.", "quiet"));
  const total = report.discards.reduce((sum, each) => sum + each.count, 0);
  node.append(paragraph(`${count(total)} ${total === 1 ? "proposal was" : "proposals were"} not used:`));
  for (const each of report.discards) {
    const different = each.texts.length < each.count && each.texts.length ? `, ${count(each.texts.length)} different ${each.texts.length === 1 ? "text" : "texts"}` : "";
    node.append(el("details", {}, el("summary", {}, el("strong", { text: count(each.count) }), el("span", { dir: "auto", text: ` ${each.reason}${different}` })), each.texts.length ? longList(each.texts) : paragraph("The texts had no room on this page.", "quiet")));
  }
}

function drawAsked() {
  const node = section("asked", "What the proposer was asked");
  if (!report.requests.length) return node.append(paragraph("The proposer was asked nothing.", "quiet"));
  node.append(paragraph("The first request of each kind, with the replies to it as the model wrote them.", "quiet"));
  report.requests.forEach((each, i) => node.append(el("details", { open: i === 0 },
    el("summary", {}, el("strong", { dir: "auto", text: each.kind || "kind not known" }), `, asked ${count(each.count)} ${each.count === 1 ? "time" : "times"}`),
    el("div", { class: "columns" },
      el("div", { class: "prompt" }, el("div", { class: "prompt-head" }, el("h3", { text: "Request" }), copyButton(each.prompt, "the request")), verbatim(each.prompt)),
      el("div", { class: "prompt" }, el("h3", { text: each.replies.length === 1 ? "Reply" : `${count(each.replies.length)} replies` }), each.replies.length ? longList(each.replies) : paragraph("No reply was kept.", "quiet"))))));
}

function drawRepeat() {
  const node = section("repeat", "To repeat it");
  node.append(el("dl", { class: "commands" }, Object.entries(report.commands).flatMap(([what, line]) => [el("dt", { text: `To ${what}` }), el("dd", {}, el("code", { text: line }), copyButton(line, `the command to ${what}`))])));
  const flat = (value, name = "") => (value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).filter(([key]) => !(name === "identity" && key === "settings")).flatMap(([key, part]) => flat(part, name ? `${name}.${key}` : key)) : [[name, typeof value === "string" ? value : JSON.stringify(value)]]);
  const settings = flat(report.settings), configuration = flat(report.configuration);
  if (!configuration.length) node.append(paragraph("How the run was set up cannot be read.", "quiet"));
  const known = new Map(configuration);
  const first = [["seed", known.get("seed")], ["localprompt", known.get("version")], ["model", known.get("model.name")], ["fingerprint of the model", known.get("model.fingerprint")], ["fingerprint of the task", known.get("identity.task")],
    ["llama.cpp (Python package)", known.get("machine.llama_cpp")], ["machine", [known.get("machine.system"), known.get("machine.cpus") ? `${known.get("machine.cpus")} CPUs` : null].filter(Boolean).join(", ")], ["Python", known.get("machine.python")], ["dev examples of the search", known.get("dev_examples")]];
  node.append(facts(first.filter(([, value]) => value && value !== "null")));
  if (settings.length) node.append(el("details", {}, el("summary", { text: `Settings of ${report.method} (${settings.length})` }), facts(settings)));
  if (configuration.length) node.append(el("details", {}, el("summary", { text: `Everything that was noted when the run began (${configuration.length})` }), facts(configuration)));
}

[drawVerdict, drawProgress, drawLineage, drawRows, drawScores, drawDiscards, drawAsked, drawRepeat].forEach(attempt);
ready();
