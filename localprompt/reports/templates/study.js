// What the pages of studies share.

main.classList.add("study");
const ALPHA = 0.05; // below which a difference is called one
const percent = (value) => (value === null || value === undefined ? "\u2013" : `${percentText(value, 1)}\u00a0%`);
// Return a p-value that is rounded, but never to the other side of the level.
function pText(p) {
  let digits = 3;
  while (digits < 9 && Number(p.toFixed(digits)) < ALPHA !== p < ALPHA) digits++;
  return p < 0.001 ? "< 0.001" : p.toFixed(digits);
}
const within = (each, text = score) => (each && each.low !== null && each.low !== undefined ? `${text(each.low)} to ${text(each.high)}` : "\u2013");
const moment = (seconds) => `${new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ")} UTC`;

// Return a number with its interval below it.
const ranged = (content, each, text = score) => [content, el("small", { class: "below", text: within(each, text) })];

// Return what marks mean: [class of the mark, or null for one that the text has, text].
function legend(pairs) {
  return el("ul", { class: "legend" }, pairs.map(([name, text]) => el("li", {}, name ? el("span", { class: `swatch ${name}`, "aria-hidden": "true" }) : null, text)));
}

const strength = ({ share, line }) => `--share: ${(40 * share).toFixed(1)}%; --thick: ${line}px`;

// Return a number on a ground whose strength is `share`, from 0 to 1; `name` is the class of its colour.
const heat = (drawnAs) => el("span", { class: `piece cell ${drawnAs.name}`, style: strength(drawnAs), text: drawnAs.text });

// Return a command with a button that copies it.
function commandBox(text) {
  return el("div", { class: "prompt" }, el("div", { class: "prompt-head" }, el("h3", { text: "Command" }), copyButton(text, "the command")), verbatim(text));
}

// Draw the verdict of a study that has no result: why, and that the same command goes on. `more` stands below.
function drawUnfinished(...more) {
  const told = {
    running: "There is no result yet: the study is marked as running. Either a process is at work on it, or one ended without being able to say so.",
    paused: "There is no result: the study was interrupted.",
    interrupted: "There is no result: the process of the study has ended, and the study has not.",
    failed: "There is no result: the study ended with an error.",
    finished: "The study is finished, but its result cannot be read.",
  };
  section("verdict", "Verdict", el("p", { class: "verdict", text: told[report.status] ?? "There is no result." }),
    ...report.damage.map((text) => el("p", { class: "bad", text })), ...more);
}

const SOURCES = [
  ["prompt", "wording"], ["model", "model"], ["quantisation", "quantisation"], ["example", "example"],
  ["prompt_model", "wording that is better for some models"], ["prompt_example", "wording that is better for some examples"],
  ["model_example", "model that is better for some examples"], ["residual", "the rest"],
];
const SHADES = ["#c23a4d", "#2e70b8", "#7c5cab", "#2f7a4a", "#b04c12", "#80650f", "#15757a", "#666b73"];

// Draw where the variance of single scores comes from, at the end of `node`.
function drawVariance(node, variance) {
  const shares = SOURCES.map(([name, text], place) => ({ text, share: variance[name], shade: SHADES[place] })).filter((each) => each.share);
  node.append(el("p", { text: "Shares of the variance of a single score. A large share of the example says that some rows are hard for all; one of the wording that the prompts differ on all rows alike." }));
  chart(node, "Shares of the variance of scores; the table has the same numbers with intervals", () => shares.map((each) => ({
    type: "bar", orientation: "h", x: [each.share.value], y: [""], name: each.text, marker: { color: each.shade, line: { color: colour("panel"), width: 2 } },
    text: each.share.value >= 0.04 ? `${(100 * each.share.value).toFixed(0)} %` : "", textposition: "inside", insidetextanchor: "middle", textangle: 0, insidetextfont: { color: "#ffffff" },
    hovertemplate: `${each.text}: ${percent(each.share.value)} (${within(each.share, percent)})<extra></extra>`,
  })), () => ({ barmode: "stack", height: 110, margin: { l: 16, r: 24, t: 4, b: 30 }, xaxis: { tickformat: ".0%", range: [0, 1], showgrid: false }, yaxis: { visible: false } }));
  dataTable(node, "Shares of the variance, with 95 % intervals", [
    { name: "source", value: (each) => each.text, cell: (each) => [el("span", { class: "swatch", style: `background: ${each.shade}`, "aria-hidden": "true" }), each.text] },
    { name: "share", value: (each) => each.share.value, cell: (each) => percent(each.share.value), right: true },
    { name: "interval", value: (each) => each.share.low, cell: (each) => within(each.share, percent), right: true },
  ], shares, [], { search: false });
}

// Draw Kendall's tau of each pair of models, or of others who rank, at the end of `node`; `what` is ranked.
function drawAgreement(node, models, pairs, what, whose = "model") {
  const tau = (a, b) => pairs.find((each) => [each.first, each.second].includes(models[a]) && [each.first, each.second].includes(models[b]))?.tau;
  const places = models.map((_, place) => place);
  const cell = (a, b) => {
    if (a === b) return el("td", { class: "right quiet", text: "\u00b7" });
    const value = tau(a, b);
    if (value === null || value === undefined) return el("td", { class: "right", text: "\u2013" });
    return el("td", { class: "right" }, heat({ text: `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`, share: Math.abs(value), name: value > 0 ? "cool" : "warm", line: 0 }));
  };
  const caption = `Kendall's tau of the scores of ${what}, for each pair of ${whose}s: +1 the same order, 0 no relation, \u22121 the opposite order; \u2013: not known, as where all score the same`;
  node.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Rank agreement of ${whose}s` }, el("table", { class: "matrix" }, el("caption", { text: caption }),
    el("thead", {}, el("tr", {}, el("th", { scope: "col", text: whose }), places.map((place) => el("th", { scope: "col", class: "right", text: String(place + 1) })))),
    el("tbody", {}, places.map((a) => el("tr", {}, el("th", { scope: "row", dir: "auto", text: `${a + 1}. ${models[a]}` }), places.map((b) => cell(a, b))))))));
}
