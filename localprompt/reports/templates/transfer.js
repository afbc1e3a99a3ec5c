// The sections of a transfer study: prompts on models, task by task. Dev chose, test is shown.

const found = report.result;
const MEASURES = [["score", "score"], ["gain", "gain over the seed prompt"], ["gap", "gap to the model's best prompt"], ["regret", "regret: share lost against the model's best prompt"]];
const cellOf = (task, prompt, model) => task.cells[prompt * found.models.length + model];
const places = (list) => list.map((_, place) => place);
const nameOf = (model) => `${model + 1}. ${found.models[model].model}`;
const titleOf = (task, prompt) => `${prompt}. ${task.prompts[prompt].origin}`;
const changeOf = (cell, key) => cell[key]?.difference ?? null;

const paragraph = (text, kind = null) => el("p", { class: kind, text });
const labelled = (task, prompt) => `${titleOf(task, prompt)}: ${shortened(shownPrompt(task.prompts[prompt].prompt), 90)}`;
const isClear = (change) => change.adjusted_p < ALPHA;

function verdictSection() {
  const node = section("verdict", "Verdict", ...report.damage.map((text) => paragraph(text, "banner")));
  for (const task of found.tasks) {
    if (found.tasks.length > 1) node.append(el("h3", { text: task.task }));
    node.append(paragraph(task.verdict, "verdict"));
  }
  dataTable(node, "Models, with what measuring all tasks took", [
    { name: "model", value: nameOf }, { name: "level", value: (model) => found.models[model].quantisation || null },
    { name: "tokens computed", right: true, value: (model) => found.models[model].spend.tokens_computed, cell: (model) => count(found.models[model].spend.tokens_computed) },
    { name: "answers", right: true, value: (model) => found.models[model].spend.answers, cell: (model) => count(found.models[model].spend.answers) },
    { name: "known before", right: true, value: (model) => found.models[model].spend.answers_cached, cell: (model) => count(found.models[model].spend.answers_cached) },
    { name: "minutes", right: true, value: (model) => found.models[model].spend.seconds, cell: (model) => (found.models[model].spend.seconds / 60).toFixed(1) },
  ], places(found.models), [], { search: false });
  const notes = [...new Set([...found.notes, ...found.tasks.flatMap(lostAnswers)])];
  if (notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, notes.map((text) => el("li", { dir: "auto", text }))));
}

// Return what could not be read or asked on a task, which scores 0.
function lostAnswers(task) {
  const sum = (key) => task.cells.reduce((total, cell) => total + cell[key], 0), n = task.cells.length * task.example_ids.length;
  const [unreadable, failed] = [sum("unreadable"), sum("failed")];
  return [unreadable ? `${task.task}: ${percent(unreadable / n)} of the answers on test could not be read; they score 0` : null, failed ? `${task.task}: the models could not be asked ${plural(failed, "question")}; these score 0` : null].filter(Boolean);
}

function drawMatrix(node, task) {
  const place = el("div"), select = el("select", {}, MEASURES.map(([value, text]) => el("option", { value, text })));
  const most = Math.max(0.01, ...task.cells.flatMap((cell) => ["gain", "gap"].map((key) => Math.abs(changeOf(cell, key)?.mean ?? 0))));
  const valueOf = (cell, key) => (key === "score" ? cell.score.mean : key === "regret" ? cell.regret?.value : changeOf(cell, key)?.mean);
  // Return the number of a cell on its ground, and below it in words what colour cannot say alone.
  const drawn = (cell, key) => {
    const marks = [cell.is_best ? "\u2605 best" : null, cell.is_own ? "\u25cb own" : null];
    const below = (...texts) => el("small", { class: "below", text: [...texts, ...marks].filter(Boolean).join(", ") || "\u00a0" });
    if (key === "score") return [heat({ text: score(cell.score.mean), share: cell.score.mean, line: 0, name: cell.is_best ? "strong" : "" }), below()];
    const value = valueOf(cell, key) ?? null;
    if (value === null) return [heat({ text: "\u2013", share: 0, line: 0, name: "" }), below(key === "gain" ? "seed prompt" : cell.is_best ? null : "not known")];
    const change = cell[key === "regret" ? "gap" : key], isWorse = key === "regret" ? value > 0 : value < 0;
    const text = key === "regret" ? percent(value) : signed(value);
    return [heat({ text, share: Math.min(1, Math.abs(value) / (key === "regret" ? 1 : most)), line: 0, name: `${isWorse ? "worse" : "better"}${isClear(change) ? " clear" : ""}` }), below(`p ${pText(change.adjusted_p)}${isClear(change) ? "" : ", not shown"}`)];
  };
  const update = () => {
    const key = select.value;
    place.replaceChildren();
    dataTable(place, "Prompts by model, on test. \u2605 best: the model's best prompt, chosen on dev; \u25cb own: found on this model; p after Holm, for all pairs of the task. Choose + for a prompt with its intervals.", [
      { name: "prompt", wide: true, value: (prompt) => labelled(task, prompt), cell: (prompt) => el("span", {}, el("strong", { text: titleOf(task, prompt) }), el("div", { class: "verbatim", dir: "auto", text: shortened(shownPrompt(task.prompts[prompt].prompt), 90) })) },
      ...places(found.models).map((model) => ({ name: nameOf(model), right: true, value: (prompt) => valueOf(cellOf(task, prompt, model), key), cell: (prompt) => drawn(cellOf(task, prompt, model), key) })),
      ...(key === "score" ? [["lowest", (all) => Math.min(...all)], ["mean", (all) => all.reduce((sum, each) => sum + each, 0) / all.length]].map(([name, of]) => ({ name, right: true, value: (prompt) => of(places(found.models).map((model) => cellOf(task, prompt, model).score.mean)), cell: (prompt) => score(of(places(found.models).map((model) => cellOf(task, prompt, model).score.mean))) })) : []),
    ], places(task.prompts), [], { search: false, detail: (prompt) => detailTable(task, prompt) });
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
    { name: "regret", right: true, value: (model) => cellOf(task, prompt, model).regret?.value, cell: (model) => { const each = cellOf(task, prompt, model).regret; return each ? ranged(percent(each.value), each, percent) : "\u2013"; } },
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

function promptSection(task, number) {
  const node = section(`prompts${number ? `-${number + 1}` : ""}`, found.tasks.length > 1 ? `Prompts in full: ${task.task}` : "Prompts in full");
  const seed = task.prompts[0].prompt;
  task.prompts.forEach((each, place) => {
    const best = places(found.models).filter((model) => cellOf(task, place, model).is_best).map(nameOf);
    const about = [best.length ? `the best of ${best.join(", ")} on dev` : null, ...each.notes].filter(Boolean).join("; ");
    const changes = place ? el("details", {}, el("summary", { text: "Changes from the seed prompt" }), el("pre", { class: "verbatim", dir: "auto" }, wordDiff(seed.instruction, each.prompt.instruction))) : null;
    node.append(el("div", { class: "given" }, promptBox(titleOf(task, place), each.prompt), about ? paragraph(about, "quiet") : null, changes));
  });
}

function repeatSection() {
  const node = section("repeat", "To repeat it");
  node.append(commandBox(report.command), el("p", { class: "quiet", text: "TASK and PROMPTS stand for the files of the tasks and for what was given as prompts." }));
  node.append(facts([["study", report.study_id], ["begun", moment(report.created)], ["last changed", moment(report.updated)],
    ...(found ? found.models.map((each, model) => [`model ${model + 1}`, `${each.model}, fingerprint ${each.fingerprint}`]) : []),
    ...Object.entries(report.configuration).filter(([name]) => name === "version").map(([, value]) => ["version of localprompt", String(value)])]));
}

if (found) {
  attempt(verdictSection);
  found.tasks.forEach((task, number) => { attempt(() => taskSection(task, number)); attempt(() => promptSection(task, number)); });
} else drawUnfinished(el("p", { text: "The same command goes on with it: answers that were given are kept." }), facts([["tasks", report.tasks.join(", ") || "\u2013"], ["models", report.models.join(", ") || "\u2013"], ["begun", moment(report.created)], ["last changed", moment(report.updated)]]));
attempt(repeatSection);
ready();
