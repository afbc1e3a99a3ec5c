// The sections of a port: one prompt with two models, and what a new search won back.

const found = report.result;
const paragraph = (text, kind = null) => el("p", { class: kind, text });
const took = (seconds) => (seconds < 60 ? plural(Math.round(seconds), "second") : `${(seconds / 60).toFixed(1)} minutes`);
const isKept = found && JSON.stringify(found.new_best.prompt) === JSON.stringify(found.old_best.prompt);

function verdictSection() {
  const tone = found.verdict === "significant improvement" ? "good" : found.verdict === "significantly worse" ? "bad" : "warn";
  const node = section("verdict", "Verdict", ...report.damage.map((text) => paragraph(text, "banner")), paragraph(`${found.conclusion[0].toUpperCase()}${found.conclusion.slice(1)}.`, `verdict strong ${tone}`));
  node.append(paragraph(`Port ${report.port_id}: ${found.method} on ${found.task}, from ${found.old_model} to ${found.model}; ${moment(report.created)} to ${moment(report.updated)}.`, "quiet"));
  scoresOf(node);
  differencesOf(node);
  if (found.notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, found.notes.map((text) => el("li", { dir: "auto", text }))));
}

// Draw the three prompts under both models: score, interval and a picture of them.
function scoresOf(node) {
  const rows = [["Old seed prompt", found.old_seed, "seed"], ["Old prompt", found.old_best, "quiet"], [isKept ? "New prompt, which is the old one" : "New prompt", found.new_best, "accent"]].map(([name, prompt, tone]) => ({ name, prompt, tone }));
  const of = (name, key) => ({ name, value: (row) => row.prompt[key]?.mean ?? null, cell: (row) => {
    const each = row.prompt[key];
    return each ? el("div", {}, el("strong", { text: score(each.mean) }), el("span", { class: "quiet", text: ` ${within(each)}, ${plural(each.n, "row")}` }), intervalPicture(each, { tone: row.tone })) : "not measured";
  } });
  dataTable(node, "Scores on test with 95 % intervals; each picture runs from 0 to 1", [
    { name: "prompt", value: (row) => row.name }, of(`with ${found.old_model} (old)`, "old_test"), of(`with ${found.model} (new)`, "new_test"),
  ], rows, [], { search: false });
  const dev = el("details", {}, el("summary", { text: "Scores on dev, by which prompts were chosen" }));
  node.append(dev);
  dataTable(dev, found.objective === "score" ? "Scores on dev with 95 % intervals" : `Scores on dev by the objective ${found.objective}: of a prompt and its variants together`, [
    { name: "prompt", value: (row) => row.name }, of(`with ${found.old_model} (old)`, "old_dev"), of(`with ${found.model} (new)`, "new_dev"),
  ], rows, [], { search: false });
}

function differencesOf(node) {
  const rows = [
    ["swap", "the old prompt, from the old model to the new one", found.swap],
    ["kept", "with the new model, from the old seed prompt to the old prompt: what is left of the old gain", found.kept],
    ["gain", "with the new model, from the old prompt to the new one: what the new search won back", found.gain],
  ].map(([name, what, difference]) => ({ name, what, difference }));
  const reach = 1.1 * Math.max(0.02, ...rows.flatMap((row) => [Math.abs(row.difference.low), Math.abs(row.difference.high)]));
  const says = (each) => (each.p >= ALPHA ? "chance may explain it" : each.mean > 0 ? "more than chance" : "a loss beyond chance");
  node.append(el("h3", { text: "What the swap lost, and what the search won back" }));
  dataTable(node, `Paired differences on test with 95 % intervals; each picture runs from ${signed(-reach)} to ${signed(reach)}`, [
    { name: "difference", wide: true, value: (row) => row.name, cell: (row) => [el("strong", { text: row.name }), el("div", { class: "quiet", text: row.what })] },
    { name: "mean", right: true, value: (row) => row.difference.mean, cell: (row) => ranged(signed(row.difference.mean), row.difference, signed) },
    { name: "interval", value: (row) => row.difference.low, cell: (row) => intervalPicture(row.difference, { from: -reach, to: reach, line: 0, tone: row.difference.p >= ALPHA ? "quiet" : row.difference.mean > 0 ? "good" : "bad" }) },
    { name: "p", right: true, value: (row) => row.difference.p, cell: (row) => pText(row.difference.p) },
    { name: "verdict", value: (row) => says(row.difference) },
    { name: "rows", right: true, value: (row) => row.difference.n, cell: (row) => count(row.difference.n) },
  ], rows, [], { search: false });
  if (found.regret > 0) node.append(paragraph(`Who keeps the old prompt has ${percent(found.regret)} less than with the new one (regret).`));
}

function promptSection() {
  const changes = (name, before, after) => el("div", { class: "prompt" }, el("h3", { text: name }), before.instruction === after.instruction ? paragraph("The instruction is the same.", "quiet") : el("pre", { class: "verbatim", dir: "auto" }, wordDiff(before.instruction, after.instruction)));
  const [seed, old, now] = [found.old_seed, found.old_best, found.new_best].map((each) => each.prompt);
  section("prompts", "Prompts", el("div", { class: "columns" }, promptBox(isKept ? "New prompt, which is the old one" : "New prompt", now), isKept ? null : changes("Changes from the old prompt", old, now),
    promptBox("Old prompt", old), changes("Changes from the old seed prompt", seed, old), promptBox("Old seed prompt", seed)));
}

function costSection() {
  section("cost", "Cost", facts([["tokens computed", `${count(found.tokens_computed)}, by the new search with noise, choice and test`], ["time", `${took(found.seconds)} of model calls, in the last session`],
    ["worth it", found.verdict === "significant improvement" ? "yes: the new prompt is better by more than chance and noise explain" : "no: keep the old prompt"]]));
}

function repeatSection() {
  section("repeat", "To repeat it", el("dl", { class: "commands" }, Object.entries(report.commands).flatMap(([what, text]) => [el("dt", { text: `${what[0].toUpperCase()}${what.slice(1)}` }), el("dd", {}, el("code", { text }), copyButton(text, `the command to ${what}`))])),
    paragraph("Limits and method are those of the old run unless the call named others, which it needs again. Words in capitals stand for what was given.", "quiet"),
    facts([["port", report.port_id], ["begun", moment(report.created)], ["last changed", moment(report.updated)], ["old run", report.old_run_id || "not known"], ["new search", report.run_id ? `${report.run_id}, ${report.run_status}` : "not begun"]]));
}

if (found) {
  [verdictSection, promptSection, costSection].forEach(attempt);
} else drawUnfinished(paragraph(`The new search: ${report.run_status}. The same command goes on with it and repeats nothing; the page of the search shows how far it is.`), facts([["begun", moment(report.created)], ["last changed", moment(report.updated)]]));
attempt(repeatSection);
ready();
