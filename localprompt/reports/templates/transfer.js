// The sections of a transfer study: prompts on models, task by task. Dev chose, test is shown.

const found = report.result;
const MEASURES = [["score", "score"], ["gain", "gain over the seed prompt"], ["gap", "gap to the model's best prompt"]];
const cellOf = (task, prompt, model) => task.cells[prompt * found.models.length + model];
const places = (list) => list.map((_, place) => place);
const nameOf = (model) => `${model + 1}. ${found.models[model].model}`;
const titleOf = (task, prompt) => `${prompt}. ${task.prompts[prompt].origin}`;
const changeOf = (cell, key) => cell[key]?.difference ?? null;

function verdictSection() {
  const many = found.tasks.length > 1;
  const node = section("verdict", "Verdict", ...found.tasks.map((task) => el("p", { class: "verdict", text: `${many ? `${task.task}: ` : ""}${task.verdict}` })));
  dataTable(node, "Models", [
    { name: "model", value: nameOf }, { name: "level", value: (model) => found.models[model].quantisation || null },
    { name: "tokens computed", value: (model) => found.models[model].spend.tokens_computed, cell: (model) => count(found.models[model].spend.tokens_computed), right: true },
    { name: "minutes", value: (model) => found.models[model].spend.seconds, cell: (model) => (found.models[model].spend.seconds / 60).toFixed(1), right: true },
  ], places(found.models), [], { search: false });
  const notes = [...found.notes, ...found.tasks.flatMap((task) => task.prompts.flatMap((each) => each.notes))];
  if (notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, notes.map((text) => el("li", { text }))));
}

function drawMatrix(node, task) {
  const place = el("div"), select = el("select", {}, MEASURES.map(([value, text]) => el("option", { value, text })));
  const most = Math.max(0.01, ...task.cells.flatMap((cell) => ["gain", "gap"].map((key) => Math.abs(changeOf(cell, key)?.mean ?? 0))));
  const drawnAs = (cell, key) => {
    const marks = `${cell.is_best ? " \u2605" : ""}${cell.is_own ? " \u25cb" : ""}`;
    if (key === "score") return { text: `${score(cell.score.mean)}${marks}`, share: cell.score.mean, line: 0, name: cell.is_best ? "clear" : "" };
    const change = changeOf(cell, key);
    if (!change) return { text: `${key === "gap" ? "best" : "seed"}${marks}`, share: 0, line: 0, name: "" };
    return { text: `${signed(change.mean)}${marks}`, share: Math.abs(change.mean) / most, line: 0, name: `${change.mean < 0 ? "worse" : "better"}${cell[key].adjusted_p < ALPHA ? " clear" : ""}` };
  };
  const valueOf = (cell, key) => (key === "score" ? cell.score.mean : changeOf(cell, key)?.mean);
  const update = () => {
    const key = select.value;
    place.replaceChildren();
    dataTable(place, "Prompts by model, on test. \u2605 the model's best prompt, chosen on dev; \u25cb found on this model; underlined: p below 0.05 after Holm. Choose + for a prompt.", [
      { name: "prompt", value: (prompt) => titleOf(task, prompt), wide: true },
      ...places(found.models).map((model) => ({ name: `model ${model + 1}`, right: true, value: (prompt) => valueOf(cellOf(task, prompt, model), key), cell: (prompt) => heat(drawnAs(cellOf(task, prompt, model), key)) })),
    ], places(task.prompts), [], { detail: (prompt) => el("div", {}, promptBox(titleOf(task, prompt), task.prompts[prompt].prompt), detailTable(task, prompt)) });
  };
  select.addEventListener("change", update);
  node.append(el("div", { class: "controls" }, el("label", {}, "Shown ", select)), place);
  update();
}

function detailTable(task, prompt) {
  const node = el("div");
  const change = (name, key) => ({ name, right: true, value: (model) => changeOf(cellOf(task, prompt, model), key)?.mean, cell: (model) => { const each = changeOf(cellOf(task, prompt, model), key); return each ? ranged(signed(each.mean), each, signed) : "\u2013"; } });
  dataTable(node, "With 95 % intervals", [
    { name: "model", value: nameOf },
    { name: "test", right: true, value: (model) => cellOf(task, prompt, model).score.mean, cell: (model) => ranged(score(cellOf(task, prompt, model).score.mean), cellOf(task, prompt, model).score) },
    { name: "dev", right: true, value: (model) => cellOf(task, prompt, model).dev.mean, cell: (model) => score(cellOf(task, prompt, model).dev.mean) },
    change("from the seed prompt", "gain"), change("gap", "gap"),
    { name: "regret", right: true, value: (model) => cellOf(task, prompt, model).regret?.value, cell: (model) => percent(cellOf(task, prompt, model).regret?.value) },
    { name: "unreadable", right: true, value: (model) => cellOf(task, prompt, model).unreadable },
  ], places(found.models), [], { search: false });
  return node;
}

function taskSection(task, number) {
  const end = number ? `-${number + 1}` : "";
  const node = section(`matrix${end}`, found.tasks.length > 1 ? `Prompts on models: ${task.task}` : "Prompts on models");
  node.append(el("p", { class: "quiet", text: `${plural(task.example_ids.length, "test row")}; ${count(task.n_dev)} dev rows, by which prompts were chosen.${task.smallest_difference === null ? "" : ` Two prompts must differ by ${score(task.smallest_difference)} for so many rows to show it reliably.`}` }));
  drawMatrix(node, task);
  node.append(el("h3", { text: "One prompt for all models" }));
  dataTable(node, "The prompt that all models would have to share, chosen on dev, measured on test; cost: its mean minus that of each model's best prompt", [
    { name: "best in", value: (each) => (each.by === "mean" ? "the mean over models" : "the model that it is worst for") },
    { name: "prompt", value: (each) => titleOf(task, each.prompt_number), wide: true },
    { name: "mean", right: true, value: (each) => each.score.mean, cell: (each) => ranged(score(each.score.mean), each.score) },
    { name: "lowest", right: true, value: (each) => each.lowest.value, cell: (each) => ranged(score(each.lowest.value), each.lowest) },
    { name: "of", value: (each) => nameOf(each.lowest_model) },
    { name: "cost", right: true, value: (each) => each.cost.mean, cell: (each) => ranged(signed(each.cost.mean), each.cost, signed) },
  ], task.best_for_all, [], { search: false });
  if (task.rank_agreement.length) {
    node.append(el("h3", { text: "Do models agree on which prompt is better?" }));
    drawAgreement(node, found.models.map((each) => each.model), task.rank_agreement, "prompts");
  }
  if (task.variance) {
    node.append(el("h3", { text: "Where the scores come from" }));
    drawVariance(node, task.variance);
  }
}

function repeatSection() {
  const node = section("repeat", "To repeat it");
  node.append(commandBox(report.command), el("p", { class: "quiet", text: "TASK and PROMPTS stand for the files of the tasks and for what was given as prompts." }));
  node.append(facts([["study", report.study_id], ["begun", moment(report.created)], ["last changed", moment(report.updated)],
    ...(found ? found.models.map((each, model) => [`model ${model + 1}`, `${each.model}, fingerprint ${each.fingerprint}`]) : []),
    ...Object.entries(report.configuration).filter(([name]) => name === "version").map(([, value]) => ["version of localprompt", String(value)])]));
}

if (found) {
  verdictSection();
  found.tasks.forEach(taskSection);
} else drawUnfinished(el("p", { text: "The same command goes on with it: answers that were given are kept." }), facts([["begun", moment(report.created)], ["last changed", moment(report.updated)]]));
repeatSection();
ready();
