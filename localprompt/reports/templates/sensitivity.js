// The sections of a sensitivity study. One model is chosen at a time; what several have in common is shown of all.

const found = report.result;
const SIDE_BY_SIDE = 3; // so many word maps fit beside each other
const followers = []; // what shows the chosen model
let chosen = 0;

const many = () => found.models.length > 1;
const nameOf = (place) => (many() ? `${place + 1}. ${found.models[place].model}` : found.models[place].model);
const ownOf = (place) => found.models[place].scorers[0];
const familyOf = (measures) => (measures.family === "all" ? "all together" : measures.family);
// Return what a variant changes; of one that people wrote, its beginning.
function changeTo(variant) {
  const { family, change, prompt } = found.variants[variant];
  return family === "given" ? `${change}, \u201c${shortened(prompt.instruction, 50)}\u201d` : change;
}

const titleOf = (variant) => (variant ? `${found.variants[variant].family}: ${changeTo(variant)}` : "the prompt as it is");
const flipsOf = (each) => (each.flips ? each.flips.mean : null);
const changeOf = (each) => (each.difference ? each.difference.difference.mean : null);

// Call a function now, and whenever another model is chosen.
function follow(update) {
  followers.push(update);
  update();
}

function choose(place) {
  chosen = place;
  followers.forEach((each) => each());
  redraw.forEach((each) => each());
}

// Return a place whose content is made for the chosen model, under its name.
function ofChosen(make) {
  const place = el("div");
  follow(() => place.replaceChildren(...[many() ? el("p", { class: "quiet", text: `Model ${nameOf(chosen)}` }) : "", make(chosen)].flat()));
  return place;
}

// Return a place of a table, which `dataTable` draws for the chosen model.
function tableOfChosen(draw) {
  return ofChosen((place) => {
    const node = el("div");
    draw(node, place);
    return node;
  });
}

function verdictSection() {
  const node = section("verdict", "Verdict", el("p", { class: "verdict", text: found.verdict }));
  const rows = `${plural(found.rows.length, `${found.split} row`)}, ${plural(found.variants.length - 1, "variant")} of one prompt, ${plural(found.models.length, "model")}.`;
  node.append(el("p", { class: "quiet", text: rows }));
  if (many()) overviewTable(node);
  else node.append(facts(plainly(0)));
  if (many()) node.append(el("h3", { text: "Each model in words" }), el("ol", {}, report.models.map((each) => el("li", {}, el("strong", { text: `${each.model}: ` }), visible(each.verdict)))));
  if (found.smallest_difference !== null) node.append(el("p", {}, "Smallest detectable difference: two prompts must differ by ", el("strong", { text: score(found.smallest_difference) }), ` for ${plural(found.rows.length, "row")} to show it reliably. A smaller one may be real, but so few rows cannot show it.`));
  node.append(promptBox("Prompt", found.variants[0].prompt));
  const notes = [...found.notes, ...found.models.flatMap(notesOf)];
  if (notes.length) node.append(el("h3", { text: "Notes" }), el("ul", {}, notes.map((text) => el("li", { text }))));
}

// Return the numbers of one model with what they mean.
function plainly(place) {
  const model = found.models[place], overall = ownOf(place).families[0], { spread } = overall, pairs = [];
  if (spread && overall.variants) {
    pairs.push(["Prompt as it is", `${score(ownOf(place).variants[0].score.mean)} (${within(ownOf(place).variants[0].score)})`],
      ["Largest spread", `${score(spread.value)}, from ${score(spread.worst)} to ${score(spread.best)} (95 % interval of the spread: ${within(spread)})`],
      ["Equal prompts", `would lie ${score(spread.by_chance.median)} apart half of the time, and up to ${score(spread.by_chance.quantile)} in 95 of 100 studies, by chance alone (p ${pText(spread.by_chance.p)})`],
      ["So the wording", report.models[place].is_moved ? "moves the score by more than chance does" : "moves the score by no more than chance would"]);
  }
  if (overall.flip_rate) pairs.push(["Answers that change", `${percent(overall.flip_rate.mean)} of the answers to the prompt as it is, on average over variants`]);
  if (model.noise) pairs.push(["Noise", noiseText(model.noise)]);
  return pairs;
}

const noiseText = (noise) => `the same prompt measured ${noise.repeats + 1} times: scores within ${score(noise.band)} of each other, ${percent(noise.changed)} of the answers change`;

function notesOf(model) {
  const about = many() ? `${model.model}: ` : "", failed = model.scorers.flatMap((each) => each.variants).reduce((sum, each) => sum + each.failed, 0);
  return [
    model.too_long.length ? `${about}${plural(model.too_long.length, "variant")} did not fit the context, or the model takes no chats` : null,
    failed ? `${about}${plural(failed, "answer")} could not be computed, and score 0` : null,
  ].filter(Boolean);
}

function overviewTable(node) {
  const spread = (place) => (ownOf(place).families[0].variants ? ownOf(place).families[0].spread : { by_chance: {} });
  const scored = found.unlabelled ? [] : [
    { name: "as it is", value: (place) => ownOf(place).variants[0].score.mean, right: true, text: score },
    { name: "worst", value: (place) => spread(place).worst, right: true, text: score },
    { name: "best", value: (place) => spread(place).best, right: true, text: score },
    { name: "spread", value: (place) => spread(place).value, right: true, text: score },
    { name: "by chance up to", value: (place) => spread(place).by_chance.quantile, right: true, text: score },
    { name: "more than chance?", value: (place) => ({ true: "yes", false: "no" })[report.models[place].is_moved] ?? "\u2013" },
    { name: "noise", value: (place) => found.models[place].noise?.band, right: true, text: score },
  ];
  const what = found.unlabelled ? "the share of answers that a variant changes, on average"
    : "its scores, the spread between the worst and the best wording, and the spread that equal prompts stay within in 95 of 100 studies";
  dataTable(node, `Each model: ${what}. Choose a name to show that model below.`, [
    { name: "model", value: nameOf, cell: (place) => el("button", { type: "button", class: "plain", text: nameOf(place), on: { click: () => choose(place) } }) },
    ...(found.models.some((each) => each.quantisation) ? [{ name: "levels", value: (place) => found.models[place].quantisation || null }] : []),
    ...scored.map((each) => (each.text ? { ...each, cell: (place) => each.text(each.value(place)) } : each)),
    { name: "answers changed", value: (place) => ownOf(place).families[0].flip_rate?.mean, cell: (place) => percent(ownOf(place).families[0].flip_rate?.mean), right: true },
  ], found.models.map((_, place) => place), [], { search: false });
}

function chooser() {
  const select = el("select", { on: { change: (event) => choose(Number(event.target.value)) } }, found.models.map((_, place) => el("option", { value: place, text: nameOf(place) })));
  follow(() => (select.value = String(chosen)));
  main.append(el("div", { class: "chooser" }, el("label", {}, "Model shown below ", select)));
}

// What a piece of the prompt does, by one measure: [value, shown, whether its interval leaves out no change].
const MEASURES = {
  nats: { name: "log-probability of the right answer, in nats", signed: true, of: (word) => word.nats, value: (each) => each.value, text: (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}` },
  flips: { name: "share of answers that change", signed: false, of: (word) => word.flips, value: (each) => each.mean, text: (value) => `${(100 * value).toFixed(0)}\u00a0%` },
  score: { name: "score", signed: true, of: (word) => word.difference.difference, value: (each) => each.mean, text: (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}` },
};

function wordSection() {
  const node = section("words", "Words that matter");
  if (!found.models.some((each) => each.words.length)) {
    node.append(el("p", { text: found.unlabelled ? "Without right answers there is no word map." : "No words were left out: the family `deletion` has no variants in this study." }));
    return;
  }
  const measures = Object.keys(MEASURES).filter((name) => found.models.some((model) => model.words.some((word) => MEASURES[name].of(word))));
  let measure = measures[0];
  node.append(el("p", {}, "What leaving a piece of the prompt out does. Point at a piece, or go to it with the Tab key, for all its numbers."));
  const select = el("select", { on: { change: (event) => { measure = event.target.value; update(); } } }, measures.map((name) => el("option", { value: name, text: MEASURES[name].name })));
  const maps = el("div", { class: "columns maps" }), key = el("div");
  const update = () => {
    const places = found.models.length <= SIDE_BY_SIDE ? found.models.map((_, place) => place) : [chosen];
    maps.replaceChildren(...places.map((place) => wordMap(place, measure)));
    key.replaceChildren(legend(MEASURES[measure].signed ? [
      ["helps-key", "with \u2212 and a solid line: without it the right answer gets less likely or the score falls, so it helps"],
      ["hurts-key", "with + and a double line: without it things get better, so it hurts"],
      ["unclear-key", "without a line: no more than chance (the 95 % interval holds 0)"],
    ] : [["helps-key", "the share of answers that change without it; the thicker the line, the more"]]));
  };
  node.append(el("div", { class: "controls" }, el("label", {}, "Shown: ", select)), maps, key);
  follow(update);
  if (many() && found.models.some((each) => each.words.length > 1)) wordsByModel(node);
  node.append(tableOfChosen(wordTable));
}

// Return the largest effect on any model, which has the strongest colour.
function largest(measure) {
  const values = found.models.flatMap((model) => model.words.map(MEASURES[measure].of).filter(Boolean).map((each) => Math.abs(MEASURES[measure].value(each))));
  return Math.max(1e-9, ...values);
}

function effect(word, measure) {
  const { of, value, text, signed: isSigned } = MEASURES[measure], each = of(word);
  if (!each) return { text: "\u2013", share: 0, name: "unclear", line: 0 };
  const size = value(each), share = Math.abs(size) / largest(measure);
  const isClear = isSigned ? each.low !== null && (each.low > 0 || each.high < 0) : size > 0;
  const name = !isClear ? "unclear" : isSigned && size > 0 ? "hurts" : "helps";
  return { text: text(size), share, name: `${name} ${isSigned && size > 0 ? "warm" : "cool"}`, line: isClear ? Math.round(1 + 4 * share) : 0 };
}

// Return the style of something whose colour and line say how large an effect is.

function wordMap(place, measure) {
  const { words } = found.models[place], characters = [...found.variants[0].prompt.instruction]; // spans count characters, not halves of them
  const piece = (from, to) => visible(characters.slice(from, to).join(""));
  const readout = el("p", { class: "readout", role: "status", text: "Point at a piece of the prompt." });
  const parts = [];
  let end = 0;
  for (const word of words) {
    const [start, stop] = word.span, drawnAs = effect(word, measure), tell = () => (readout.textContent = visible(wordText(word)));
    parts.push(piece(end, start), el("span", {
      class: `piece ${drawnAs.name}`, style: strength(drawnAs), tabindex: "0", role: "button", on: { mouseenter: tell, focus: tell, click: tell },
    }, piece(start, stop), el("sup", { text: drawnAs.text })));
    end = stop;
  }
  parts.push(piece(end));
  return el("div", { class: "prompt" }, many() ? el("h3", { text: nameOf(place) }) : null,
    words.length ? el("p", { class: "wordmap", dir: "auto" }, parts) : el("p", { class: "quiet", text: "No words were left out." }), readout);
}

// Return all that is known of a piece of the prompt, in a line.
function wordText(word) {
  const { difference } = word.difference, told = [];
  if (word.nats) told.push(`${signed(word.nats.value)} nats (${within(word.nats, signed)})`);
  if (word.flips) told.push(`${percent(word.flips.mean)} of the answers change (${within(word.flips, percent)})`);
  told.push(`score ${signed(difference.mean)} (${within(difference, signed)}; adjusted p ${pText(word.difference.adjusted_p)})`);
  return `Without \u201c${word.text}\u201d: ${told.join("; ")}.`;
}

function wordTable(node, place) {
  const { words } = found.models[place];
  dataTable(node, "Pieces of the prompt: what leaving them out does, with 95 % intervals", [
    { name: "without", value: (word) => word.text },
    { name: "nats", value: (word) => word.nats?.value, cell: (word) => (word.nats ? ranged(signed(word.nats.value), word.nats, signed) : "\u2013"), right: true },
    { name: "answers changed", value: (word) => word.flips?.mean, cell: (word) => (word.flips ? ranged(percent(word.flips.mean), word.flips, percent) : "\u2013"), right: true },
    { name: "score", value: (word) => word.difference.difference.mean, cell: (word) => ranged(signed(word.difference.difference.mean), word.difference.difference, signed), right: true },
    { name: "adjusted p", value: (word) => word.difference.adjusted_p, cell: (word) => pText(word.difference.adjusted_p), right: true },
  ], words, [], { size: 15 });
}

function wordsByModel(node) {
  const spans = new Map();
  found.models.forEach((model, place) => model.words.forEach((word) => {
    const key = word.span[0];
    if (!spans.has(key)) spans.set(key, { text: word.text, start: key, words: found.models.map(() => null) });
    spans.get(key).words[place] = word;
  }));
  const measure = found.models.some((model) => model.words.some((word) => word.nats)) ? "nats" : "score";
  const value = (word) => (word && MEASURES[measure].of(word) ? MEASURES[measure].value(MEASURES[measure].of(word)) : null);
  dataTable(node, `The same pieces by model, the numbers as in the table of models: change of ${MEASURES[measure].name}; bold and underlined where it is more than chance`, [
    { name: "without", value: (row) => row.text },
    ...found.models.map((model, place) => ({ name: `model ${place + 1}`, value: (row) => value(row.words[place]), cell: (row) => (row.words[place] ? heat(effect(row.words[place], measure)) : "\u2013"), right: true })),
  ], [...spans.values()].sort((a, b) => a.start - b.start), [], { size: 12 });
}

// Return a number on a colour that says how far it is from 0.

// Return what a difference from the original looks like.
function difference(each, most) {
  const size = changeOf(each);
  if (size === null) return { text: "\u2013", share: 0, name: "unclear", line: 0 };
  const isClear = each.difference.adjusted_p < ALPHA;
  return { text: signed(size), share: Math.abs(size) / most, name: `${isClear ? "clear" : "unclear"} ${size > 0 ? "better" : "worse"}`, line: 0 };
}

// ---- variants

const valueOf = (each) => (found.unlabelled ? flipsOf(each) : each.score.mean);
const measureName = () => (found.unlabelled ? "share of answers that change" : "score");

// Return the dots of a strip as [measures, height], those with nearly the same value one above the other.
function stacked(dots, width) {
  const sorted = [...dots].sort((a, b) => valueOf(a) - valueOf(b) || a.variant - b.variant), heights = [0, 0.17, -0.17, 0.32, -0.32];
  let start = null, step = 0;
  return sorted.map((each) => {
    if (start === null || valueOf(each) - start > width) { start = valueOf(each); step = 0; }
    return [each, heights[step++ % heights.length]];
  });
}

function stripSection() {
  const node = section("families", "Families of variants");
  node.append(el("p", {}, `One row a family, one mark a variant: its ${measureName()}. ${found.unlabelled ? "" : "The line is the prompt as it is. A family whose marks stay within its grey bar, the line with them, moves the score no more than chance would."}`));
  const title = el("p", { class: "quiet" });
  if (many()) {
    follow(() => (title.textContent = visible(`Model ${nameOf(chosen)}`)));
    node.append(title);
  }
  const shown = el("div");
  const families = () => ownOf(chosen).families.filter((each) => each.family !== "all");
  const ofFamily = (name) => ownOf(chosen).variants.filter((each) => each.variant && found.variants[each.variant].family === name && valueOf(each) !== null);
  const original = () => (found.unlabelled ? 0 : ownOf(chosen).variants[0].score.mean);
  const range = () => {
    const { noise } = found.models[chosen], reach = Math.max(found.smallest_difference ?? 0, noise?.band ?? 0);
    const ends = [original() - reach, original() + reach, ...ownOf(chosen).variants.map(valueOf).filter((each) => each !== null),
      ...(found.unlabelled ? [] : families().flatMap(({ spread }) => byChance(spread)))];
    return axisRange(ends);
  };
  const kinds = () => [
    ["circle-open", "quiet", (each) => !isClear(each)],
    ["triangle-down", "bad", (each) => isClear(each) && changeOf(each) < 0],
    ["triangle-up", "good", (each) => isClear(each) && changeOf(each) > 0],
  ];
  const isClear = (each) => each.difference !== null && each.difference.adjusted_p < ALPHA;
  const traces = () => {
    const [low, high] = range();
    const dots = families().flatMap((family, row) => stacked(ofFamily(family.family), (high - low) / 60).map(([each, height]) => [each, height - row]));
    return kinds().map(([symbol, name, belongs]) => {
      const some = dots.filter(([each]) => belongs(each));
      return { type: "scatter", mode: "markers", x: some.map(([each]) => valueOf(each)), y: some.map(([, y]) => y), customdata: some.map(([each]) => each.variant), text: some.map(([each]) => plotText(dotText(each))), hovertemplate: "%{text}<extra></extra>", marker: { symbol, size: 11, color: colour(name), line: { width: 2, color: colour(name) } } };
    });
  };
  const layout = () => {
    const { noise } = found.models[chosen], at = original(), shapes = [], rows = families();
    const band = (x0, x1, y0, y1, name, opacity) => shapes.push({ type: "rect", layer: "below", x0, x1, y0, y1, ...(y1 === 1 && y0 === 0 ? { yref: "paper" } : {}), fillcolor: colour(name), opacity, line: { width: 0 } });
    const line = (x, dash, name, width) => shapes.push({ type: "line", layer: "below", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: colour(name), width, dash } });
    if (!found.unlabelled) {
      rows.forEach(({ spread }, row) => band(...byChance(spread), -row - 0.42, -row + 0.42, "quiet", 0.22));
      if (noise && noise.band) band(at - noise.band, at + noise.band, 0, 1, "seed", 0.14);
      if (found.smallest_difference !== null) [at - found.smallest_difference, at + found.smallest_difference].filter((x) => x > 0 && x < 1).forEach((x) => line(x, "dot", "accent", 1.5));
    }
    line(at, "solid", "seed", 2);
    return {
      height: 80 + 40 * rows.length, shapes, margin: { l: 48, r: 12, t: 8, b: 48 },
      xaxis: { title: { text: measureName() }, range: range(), zeroline: false, tickformat: found.unlabelled ? ".0%" : ".2f" },
      yaxis: { tickvals: rows.map((_, row) => -row), ticktext: rows.map((each) => plotText(`${each.family} (${each.variants})`)), range: [0.6 - rows.length, 0.6], zeroline: false, showgrid: false },
    };
  };
  const about = found.unlabelled ? "Share of answers that each variant changes, by family; the table of variants has the same numbers"
    : "Score of each variant by family, beside what chance and noise do; the table of variants has the same numbers. Choose a mark to see its text.";
  chart(node, about, traces, layout, (point) => {
    shown.replaceChildren(variantText(ownOf(chosen).variants.find((each) => each.variant === point.customdata)));
  });
  const key = el("div");
  node.append(key, shown);
  follow(() => {
    const { noise } = found.models[chosen];
    key.replaceChildren(legend(found.unlabelled ? [[null, "\u25cb a variant"], ["original-key", "line: the original"]] : [
      [null, "\u25cb a variant that is not shown to differ from the original"], [null, "\u25bc one that is worse, \u25b2 one that is better (adjusted p below 0.05)"],
      ["original-key", "line: the original"], ["chance-key", "grey bar: as wide as the family's spread would be by chance in 95 of 100 studies"],
      noise && noise.band ? ["noise-key", `band: noise, \u00b1 ${score(noise.band)} around the original`] : [null, "no noise band: measured again, the original had the same scores"],
      ...(found.smallest_difference === null ? [] : [["smallest-key", `dotted: \u00b1 ${score(found.smallest_difference)}, the smallest difference that so many rows show reliably`]]),
    ]));
    shown.replaceChildren();
  });
  node.append(tableOfChosen(familyTable));
}

// Return the ends of a bar around the scores that is as wide as their spread would be by chance.
function byChance(spread) {
  const middle = (spread.worst + spread.best) / 2, half = spread.by_chance.quantile / 2;
  return [middle - half, middle + half];
}

// Return the range of an axis that holds some values, with room at its ends.
function axisRange(values) {
  const low = Math.max(0, Math.min(...values)), high = Math.min(1, Math.max(...values)), room = 0.02 + 0.02 * (high - low);
  return [low - room, high + room];
}

function dotText(each) {
  const told = [titleOf(each.variant)];
  if (each.score) told.push(`score ${score(each.score.mean)} (${within(each.score)})`);
  if (each.difference) told.push(`${signed(changeOf(each))} (${within(each.difference.difference, signed)}), adjusted p ${pText(each.difference.adjusted_p)}`);
  if (each.flips) told.push(`${percent(each.flips.mean)} of the answers change`);
  if (each.nats !== null) told.push(`${signed(each.nats)} nats`);
  return told.join("\n");
}

function familyTable(node, place) {
  const scored = found.unlabelled ? [["consistency", (each) => each.consistency?.mean], ["entropy", (each) => each.entropy?.mean], ["POSIX", (each) => each.posix?.value]].map(([name, value]) => (
    { name, value, cell: (each) => score(value(each)), right: true })) : [
    { name: "worst", value: (each) => each.spread.worst, cell: (each) => score(each.spread.worst), right: true },
    { name: "best", value: (each) => each.spread.best, cell: (each) => score(each.spread.best), right: true },
    { name: "spread", value: (each) => each.spread.value, cell: (each) => ranged(score(each.spread.value), each.spread), right: true },
    { name: "chance, half the time", value: (each) => each.spread.by_chance.median, cell: (each) => score(each.spread.by_chance.median), right: true },
    { name: "chance, 95 of 100", value: (each) => each.spread.by_chance.quantile, cell: (each) => score(each.spread.by_chance.quantile), right: true },
    { name: "p", value: (each) => each.spread.by_chance.p, cell: (each) => pText(each.spread.by_chance.p), right: true },
  ];
  const others = [["consistency", (each) => each.consistency?.mean], ["PromptSensiScore", (each) => each.prompt_sensi_score?.mean], ["performance drop", (each) => each.performance_drop?.value],
    ["entropy", (each) => each.entropy?.mean], ["class consistency", (each) => each.class_consistency?.value], ["POSIX", (each) => each.posix?.value], ["Cochran's Q", (each) => each.spread?.by_chance.q]];
  dataTable(node, "Families: how far their variants move the model; choose + for the other measures", [
    { name: "family", value: familyOf },
    { name: "n", value: (each) => each.variants, right: true },
    ...scored,
    { name: "answers changed", value: (each) => each.flip_rate?.mean, cell: (each) => (each.flip_rate ? ranged(percent(each.flip_rate.mean), each.flip_rate, percent) : "\u2013"), right: true },
  ], ownOf(place).families.filter((each) => each.variants), [], { search: false, detail: (each) => facts(others.map(([name, value]) => [name, score(value(each))])) });
}

// Return a variant as the model reads it, with what differs from the original marked.
function variantText(each) {
  const text = found.variants[each.variant];
  return el("div", { class: "prompt" }, el("div", { class: "prompt-head" }, el("h3", { text: titleOf(each.variant) }), copyButton(text.shown, "what the model reads")),
    el("p", { class: "quiet", text: dotText(each).split("\n").slice(1).join("; ") }),
    el("pre", { class: "verbatim", dir: "auto" }, each.variant ? wordDiff(found.variants[0].shown, text.shown) : visible(text.shown)));
}

function variantSection() {
  const node = section("variants", "Variants");
  if (!found.unlabelled) {
    node.append(ofChosen((place) => {
      const { worst, best } = ownOf(place).families[0], measures = (variant) => ownOf(place).variants.find((each) => each.variant === variant);
      return el("div", { class: "columns" }, [["Worst", worst], ["Best", best]].map(([name, variant]) =>
        el("div", {}, el("h3", { text: `${name}: ${score(measures(variant).score.mean)}` }), variantText(measures(variant)))));
    }), el("p", { class: "quiet", text: "What the model reads; names in <angle brackets> stand for a row's inputs. Marked: what differs from the prompt as it is. Whoever picks the best of these has chosen on these rows: measure it on others." }));
  }
  node.append(tableOfChosen((place, model) => {
    const scored = found.unlabelled ? [] : [
      { name: "score", value: (each) => each.score.mean, cell: (each) => ranged(score(each.score.mean), each.score), right: true },
      { name: "difference", value: changeOf, cell: (each) => (each.difference ? ranged(heat(difference(each, largestChange(model))), each.difference.difference, signed) : "\u2013"), right: true },
      { name: "adjusted p", value: (each) => each.difference?.adjusted_p, cell: (each) => (each.difference ? pText(each.difference.adjusted_p) : "\u2013"), right: true },
    ];
    dataTable(place, "Every variant beside the prompt as it is; choose + for what the model reads", [
      { name: "change", value: (each) => changeTo(each.variant) },
      { name: "family", value: (each) => found.variants[each.variant].family },
      ...scored,
      { name: "changed", value: flipsOf, cell: (each) => percent(flipsOf(each)), right: true },
      { name: "nats", value: (each) => each.nats, cell: (each) => signed(each.nats), right: true },
      { name: "favourite answer", value: (each) => each.favourite, cell: (each) => (each.favourite === null ? "\u2013" : [visible(shortened(each.favourite, 40)), el("small", { class: "below", text: percent(each.favourite_share) })]) },
    ], ownOf(model).variants, [{ name: "family", value: (each) => found.variants[each.variant].family }], { detail: variantText });
  }));
}

const largestChange = (place) => Math.max(1e-9, ...ownOf(place).variants.map((each) => Math.abs(changeOf(each) ?? 0)));

// ---- scorers, variance, models

// Draw worst, mean and best of several things as ranges at the end of `parent`; rows: () => [{ name, spread, original }].
function ranges(parent, about, rows) {
  const traces = () => {
    const all = rows(), column = (value) => all.map(value), ys = all.map((_, row) => -row);
    const marks = (name, symbol, color, value) => ({ type: "scatter", mode: "markers", x: column(value), y: ys, text: column((each) => plotText(`${each.name}\n${name} ${score(value(each))}`)), hovertemplate: "%{text}<extra></extra>", marker: { symbol, size: 11, color: colour(color), line: { width: 2, color: colour(color) } } });
    const lines = all.map((each, row) => ({ type: "scatter", mode: "lines", x: [each.spread.worst, each.spread.best], y: [-row, -row], line: { color: colour("accent"), width: 3 }, hoverinfo: "skip" }));
    return [...lines, marks("worst", "triangle-down", "bad", (each) => each.spread.worst), marks("best", "triangle-up", "good", (each) => each.spread.best),
      marks("mean", "diamond", "accent", (each) => each.spread.mean), marks("as it is", "line-ns", "seed", (each) => each.original)];
  };
  const layout = () => {
    const all = rows();
    return {
      height: 70 + 56 * all.length, margin: { l: 12, r: 12, t: 4, b: 44 }, xaxis: { title: { text: "score" }, zeroline: false, tickformat: ".2f", range: axisRange(all.flatMap(({ spread }) => [spread.worst, spread.best, ...byChance(spread)])) },
      yaxis: { visible: false, range: [0.3 - all.length, 0.65] },
      shapes: all.map(({ spread }, row) => ({ type: "rect", layer: "below", x0: byChance(spread)[0], x1: byChance(spread)[1], y0: -row - 0.2, y1: -row + 0.2, fillcolor: colour("quiet"), opacity: 0.22, line: { width: 0 } })),
      annotations: all.map(({ name }, row) => ({ xref: "paper", x: 0, xanchor: "left", y: -row + 0.42, showarrow: false, text: plotText(shortened(name, innerWidth < 500 ? 40 : 60)), font: { size: 12, color: colour("text") } })),
    };
  };
  chart(parent, about, traces, layout);
  parent.append(legend([[null, "\u25bc worst, \u25b2 best wording"], [null, "\u25c6 mean over wordings"], ["original-key", "line: the original"], ["chance-key", "grey bar: as wide as the spread of equal prompts in 95 of 100 studies"]]));
}

function scorerSection() {
  const node = section("scorers", "Ways to take answers");
  node.append(el("p", { text: "Much of what looks like sensitivity comes from how answers are taken. Here the same variants are measured in other ways." }));
  if (!found.unlabelled) ranges(node, "Scores of the variants by each way to take answers; the table has the same numbers", () => found.models[chosen].scorers.map((each) => ({ name: each.scorer, spread: each.families[0].spread, original: each.variants[0].score.mean })));
  const unread = (each) => each.variants.reduce((sum, variant) => sum + variant.unreadable, 0) / (each.variants.length * each.rows);
  node.append(tableOfChosen((place, model) => {
    const spread = (each) => each.families[0].spread;
    const scored = found.unlabelled ? [] : [
      { name: "mean", value: (each) => spread(each).mean, cell: (each) => score(spread(each).mean), right: true },
      { name: "spread", value: (each) => spread(each).value, cell: (each) => ranged(score(spread(each).value), spread(each)), right: true },
      { name: "chance, 95 of 100", value: (each) => spread(each).by_chance.quantile, cell: (each) => score(spread(each).by_chance.quantile), right: true },
      { name: "p", value: (each) => spread(each).by_chance.p, cell: (each) => pText(spread(each).by_chance.p), right: true },
      { name: "agreement", value: (each) => each.agreement, cell: (each) => signed(each.agreement), right: true },
    ];
    dataTable(place, "Ways to take answers; agreement: Kendall's tau of the variants' scores with the first way's", [
      { name: "scorer", value: (each) => each.scorer, cell: (each) => [el("strong", { text: each.scorer }), ` ${visible(each.what)}`] },
      { name: "variants", value: (each) => each.families[0].variants, right: true },
      { name: "rows", value: (each) => each.rows, right: true },
      ...scored,
      { name: "answers changed", value: (each) => each.families[0].flip_rate?.mean, cell: (each) => percent(each.families[0].flip_rate?.mean), right: true },
      { name: "unreadable", value: unread, cell: (each) => percent(unread(each)), right: true },
    ], found.models[model].scorers, [], { search: false });
    const pairs = found.models[model].scorer_agreement;
    if (pairs.length > 1) drawAgreement(place, found.models[model].scorers.map((each) => each.scorer), pairs, "variants", "scorer");
  }));
}

function modelSection() {
  const node = section("models", "Models side by side");
  if (!found.unlabelled) ranges(node, "Worst, mean and best score of each model over the variants; the table under the verdict has the same numbers", () => found.models.map((model, place) => ({ name: nameOf(place), spread: ownOf(place).families[0].spread, original: ownOf(place).variants[0].score.mean })));
  const at = found.models.map((_, place) => new Map(ownOf(place).variants.map((each) => [each.variant, each])));
  const most = Math.max(...found.models.map((_, place) => largestChange(place)));
  const caption = found.unlabelled ? "Share of answers that each variant changes, by model"
    : "Each variant by model: score minus that of the prompt as it is; bold and underlined where the adjusted p is below 0.05";
  dataTable(node, caption, [
    { name: "variant", value: titleOf },
    ...found.models.map((_, place) => ({
      name: `model ${place + 1}`, right: true, value: (variant) => (at[place].has(variant) ? (found.unlabelled ? flipsOf : changeOf)(at[place].get(variant)) : null),
      cell: (variant) => (!at[place].has(variant) ? "\u2013" : found.unlabelled ? percent(flipsOf(at[place].get(variant))) : heat(difference(at[place].get(variant), most))),
    })),
  ], found.variants.map((_, variant) => variant).slice(1), [{ name: "family", value: (variant) => found.variants[variant].family }]);
}

// ---- answers, how to repeat it

function answerSection() {
  const node = section("answers", "Rows whose answer depends on the wording");
  const shownAnswer = (text) => (text === "" ? "(none that can be read)" : shortened(text, 60));
  node.append(tableOfChosen((place, model) => {
    const { rows, unchanged } = report.models[model];
    if (unchanged === null) {
      place.append(el("p", { text: ownOf(model).answers.length ? "No other wording was measured." : "By this way to take answers there are none, only probabilities of the right one." }));
      return;
    }
    place.append(el("p", { text: `${count(rows.length)} of ${plural(found.rows.length, "row")} get different answers to different wordings; ${count(unchanged)} get the same answer to all. The study keeps the ids of rows, not their texts.` }));
    if (!rows.length) return;
    dataTable(place, "Rows that change most first; choose + for the wordings behind each answer", [
      { name: "row", value: (row) => row.example_id },
      { name: "changed", value: (row) => row.changed, cell: (row) => percent(row.changed), right: true },
      { name: "mean score", value: (row) => row.score, cell: (row) => score(row.score), right: true },
      { name: "to the prompt as it is", value: (row) => row.answers[0].answer, cell: (row) => visible(shownAnswer(row.answers[0].answer)) },
      { name: "answers", value: (row) => row.answers.map((each) => each.answer).join(" "), cell: (row) => row.answers.slice(0, 5).map((each) => el("div", { dir: "auto", text: `${shownAnswer(each.answer)} \u00d7 ${each.variants.length}` })) },
    ], rows, [], { size: 15, detail: (row) => facts(row.answers.map((each) => [shownAnswer(each.answer), el("ul", {}, each.variants.map((variant) => el("li", { text: titleOf(variant) })))])) });
  }));
}

function repeatSection() {
  const { configuration } = report;
  const node = section("repeat", "To repeat it");
  node.append(commandBox(report.command),
    el("p", { class: "quiet", text: `TASK stands for the file of the task ${report.task}${/--prompt PROMPT\b/.test(report.command) ? ", and PROMPT for what the option cannot hold: a prompt with worked examples, or, before there is a result, every prompt" : ""}. Settings of the engine are not kept.` }));
  const known = ["fingerprint", "writer", "split", "size", "seed", "unlabelled", "families", "scorers", "version"];
  const named = { fingerprint: "fingerprint of task and rows", writer: "fingerprint of the model that wrote variants", version: "version of localprompt" };
  const text = (value) => (Array.isArray(value) ? value.map(String).join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value));
  node.append(facts([
    ["study", report.study_id], ["task", report.task], ["begun", moment(report.created)], ["last changed", moment(report.updated)],
    ...known.filter((name) => name in configuration).map((name) => [named[name] ?? name, text(configuration[name])]),
    ...report.planned.map((name, place) => [`model ${place + 1}`, found ? `${name}, fingerprint ${found.models[place]?.fingerprint ?? "\u2013"}` : name]),
  ]));
  if (!found) return;
  dataTable(node, "What it took", [
    { name: "model", value: nameOf },
    ...[["tokens computed", "tokens_computed"], ["calls", "calls"], ["answers", "answers"], ["known before", "answers_cached"], ["seconds", "seconds"]].map(([name, key]) => (
      { name, value: (place) => found.models[place].spend[key], cell: (place) => count(Math.round(found.models[place].spend[key])), right: true })),
  ], found.models.map((_, place) => place), [], { search: false });
}

function unfinishedSection() {
  drawUnfinished(el("p", { text: "The same command goes on with it: answers that were given are kept, and only what is missing is computed. This page shows no measures of a part of the answers." }),
    facts([["begun", moment(report.created)], ["last changed", moment(report.updated)], ["models", report.planned.join(", ") || "\u2013"]]));
}

const parts = [
  verdictSection,
  () => many() && chooser(),
  wordSection,
  stripSection,
  variantSection,
  scorerSection,
  () => found.variance && drawVariance(section("variance", "Where the scores come from"), found.variance),
  () => many() && found.rank_agreement.length && drawAgreement(section("agreement", "Do models agree on the best wording?"), found.models.map((each) => each.model), found.rank_agreement, "variants"),
  () => many() && modelSection(),
  answerSection,
];
(found ? parts : [unfinishedSection]).forEach(attempt);
attempt(repeatSection);
ready();
