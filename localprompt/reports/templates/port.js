// The sections of a port: one prompt with two models, and what a new search won back.

const found = report.result;

function verdictSection() {
  const node = section("verdict", "Verdict", el("p", { class: "verdict", text: `${found.conclusion[0].toUpperCase()}${found.conclusion.slice(1)}.` }));
  node.append(el("p", { class: "quiet", text: `${found.method} on ${found.task}: from ${found.old_model} to ${found.model}.` }));
  node.append(el("div", { class: "columns" }, promptBox("New prompt", found.new_best.prompt), promptBox("Old prompt", found.old_best.prompt), promptBox("Old seed prompt", found.old_seed.prompt)));
  if (found.notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, found.notes.map((text) => el("li", { text }))));
}

function scoreSection() {
  const node = section("scores", "Scores on test");
  const rows = [["Old seed prompt", found.old_seed], ["Old prompt", found.old_best], ["New prompt", found.new_best]].map(([name, prompt]) => ({ name, prompt }));
  const of = (name, key) => ({ name, right: true, value: (row) => row.prompt[key]?.mean, cell: (row) => (row.prompt[key] ? ranged(score(row.prompt[key].mean), row.prompt[key]) : "\u2013") });
  const picture = (name, key, tone) => ({ name, value: () => null, cell: (row) => (row.prompt[key] ? el("div", { class: "picture" }, intervalPicture(row.prompt[key], { tone })) : "\u2013") });
  dataTable(node, `Test scores with 95 % intervals, from 0 to 1; old model: ${found.old_model}, new model: ${found.model}`, [
    { name: "prompt", value: (row) => row.name },
    of("old model", "old_test"), picture("old model, 0 to 1", "old_test", "seed"),
    of("new model", "new_test"), picture("new model, 0 to 1", "new_test", "accent"),
    of("old dev", "old_dev"), of("new dev", "new_dev"),
  ], rows, [], { search: false });
}

function differenceSection() {
  const node = section("differences", "What the swap lost, and what the search won back");
  const rows = [
    ["swap", "the old prompt, from the old model to the new one", found.swap],
    ["kept", "with the new model, from the old seed prompt to the old prompt: what is left of the old gain", found.kept],
    ["gain", "with the new model, from the old prompt to the new one", found.gain],
  ].map(([name, what, difference]) => ({ name, what, difference }));
  const reach = 1.1 * Math.max(0.02, ...rows.flatMap((row) => [Math.abs(row.difference.low), Math.abs(row.difference.high)]));
  dataTable(node, `Paired differences on test, with 95 % intervals; pictures from ${signed(-reach)} to ${signed(reach)}`, [
    { name: "difference", wide: true, value: (row) => row.name, cell: (row) => [el("strong", { text: row.name }), el("div", { class: "quiet", text: row.what })] },
    { name: "mean", right: true, value: (row) => row.difference.mean, cell: (row) => ranged(signed(row.difference.mean), row.difference, signed) },
    { name: "interval", value: () => null, cell: (row) => el("div", { class: "picture" }, intervalPicture(row.difference, { from: -reach, to: reach, line: 0, tone: row.difference.p >= ALPHA ? "quiet" : row.difference.mean > 0 ? "good" : "bad" })) },
    { name: "p", right: true, value: (row) => row.difference.p, cell: (row) => pText(row.difference.p) },
    { name: "rows", right: true, value: (row) => row.difference.n, cell: (row) => count(row.difference.n) },
  ], rows, [], { search: false });
  node.append(facts([["verdict on the gain", found.verdict], ["regret of keeping the old prompt", found.regret === null ? "not known" : percent(found.regret)],
    ["tokens that the search computed", count(found.tokens_computed)], ["minutes", (found.seconds / 60).toFixed(1)]]));
}

function repeatSection() {
  const node = section("repeat", "To repeat it");
  node.append(commandBox(report.command), el("p", { class: "quiet", text: "MODEL stands for the new model. localprompt report RUN shows each of the runs in full." }));
  node.append(facts([["port", report.port_id], ["begun", moment(report.created)], ["last changed", moment(report.updated)], ["runs", report.runs.join(", ")]]));
}

if (found) {
  verdictSection();
  scoreSection();
  differenceSection();
} else drawUnfinished(el("p", { text: "The same command goes on with it and repeats nothing." }), facts([["begun", moment(report.created)], ["last changed", moment(report.updated)]]));
repeatSection();
ready();
