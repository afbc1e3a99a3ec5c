"use strict";
// What the pages of all kinds share. Texts of users and models become text nodes, never markup.

const report = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const drawn = []; // promises of charts that are being drawn
let waiting = []; // what draws them, one after the other once all texts are there; null from then on
const redraw = []; // what a change of colours draws again
const chosenTheme = remembered("localStorage", "theme");
if (["light", "dark"].includes(chosenTheme)) document.documentElement.dataset.theme = chosenTheme;

// Return an element. Props are attributes; `on` holds listeners by event; `text` is its text. Children may be strings.
function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

// The same for an element of a picture.
function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "text") {
      node.textContent = visible(value);
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((each) => each !== null && each !== undefined));
  return node;
}

// Return a text in which control characters can be seen, and which cannot change the direction of what follows.
function visible(text) {
  return String(text).replace(/(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}]/gu, (each) => {
    const code = each.codePointAt(0);
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

// Return a text for a label or hover of plotly, which reads some tags; cut to so many characters, lines kept short.
function plotText(text, most = 300) {
  const lines = visible(shortened(text, most)).replace(/[^\s]{60}/g, "$& ").replace(/(?=[^\n]{70})(.{1,70})\s/g, "$1\n");
  return lines.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\n/g, "<br>");
}

// Return a text that is cut to so many characters, and never within one that has two halves, as emoji have.
const shortened = (text, most = 160) => (text.length > most ? `${text.slice(0, most).replace(/[\ud800-\udbff]$/, "")}\u2026` : text);
// Numbers as interface/rounding.py writes them, so that a page says what the terminal and the sentences on it say.
const EQUAL = 1e-9;
// Return a number with so many digits after the point; one that lies between two goes to the even digit.
function fixed(value, digits) {
  const text = value.toFixed(digits), isBetween = /50{24}$/.test(value.toFixed(digits + 25));
  return isBetween && /[13579]$/.test(text) ? (Number(text) - Math.sign(value) / 10 ** digits).toFixed(digits) : text;
}
// With more digits where it would else be rounded to 0, 1 or -1 and is not.
function scoreText(value, digits = 3) {
  const nearest = Math.sign(value) * Math.min(1, Math.round(Math.abs(value)));
  if (Math.abs(value - nearest) <= EQUAL) return fixed(nearest, digits);
  while (digits < 6 && Number(fixed(value, digits)) === nearest) digits++;
  return fixed(value, digits);
}
function percentText(share, digits) {
  while (digits < 6 && share > EQUAL && share < 1 - EQUAL && [0, 100].includes(Number(fixed(100 * share, digits)))) digits++;
  return fixed(100 * share, digits);
}
const score = (value) => (value === null || value === undefined ? "\u2013" : scoreText(value));
const signed = (value, digits = 3) => (value === null || value === undefined ? "\u2013" : `${value < -EQUAL ? "\u2212" : "+"}${scoreText(Math.abs(value), digits)}`);
const count = (value) => (value === null || value === undefined ? "\u2013" : value.toLocaleString("en"));
const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;
const shownPrompt = (prompt) => prompt.instruction || "(no instruction)";

// Return a picture of a value with its interval on an axis, as wide as its place. `value` has mean, low and high; `tone`
// names a colour; `line` is a mark on the axis; `band` is the half width of a band around it, such as the noise.
function intervalPicture(value, { from = 0, to = 1, tone = "accent", line = null, band = 0 } = {}) {
  const at = (x) => `${Math.min(100, Math.max(0, (100 * (x - from)) / (to - from)))}%`;
  const width = (low, high) => `${Math.max(0, (100 * (Math.min(high, to) - Math.max(low, from))) / (to - from))}%`;
  return svg("svg", { class: `interval tone-${tone}`, role: "img", "aria-label": `${score(value.mean)}, interval ${score(value.low)} to ${score(value.high)}` },
    svg("line", { class: "axis", x1: "0", x2: "100%", y1: "14", y2: "14" }),
    band ? svg("rect", { class: "band", x: at(line - band), width: width(line - band, line + band), y: "2", height: "24" }) : null,
    line === null ? null : svg("line", { class: "mark", x1: at(line), x2: at(line), y1: "2", y2: "26" }),
    svg("rect", { class: "range", x: at(value.low), width: width(value.low, value.high), y: "10", height: "8", rx: "3" }),
    svg("circle", { class: "point", cx: at(value.mean), cy: "14", r: "6" }));
}

// Return a new section at the end of the page, with a link to it in the head.
function section(id, title, ...children) {
  const node = el("section", { id, "aria-labelledby": `h-${id}` }, el("h2", { id: `h-${id}`, text: title }), children);
  main.append(node);
  link(id, title);
  return node;
}

function link(id, title) {
  document.getElementById("sections").append(el("a", { href: `#${id}`, text: title }));
}

// Return a text that stands on paper in the place of a button, which has no use there.
const onPaper = (text) => el("span", { class: "on-paper", text });

// Return a text as it was written, line breaks and all.
const verbatim = (text, name = "pre") => inPlace(text.length, el(name, { class: "verbatim", dir: "auto", text }));

// Return what holds so many characters; where they are many, in a place of its own, which scrolls.
const inPlace = (characters, node) => (characters > 2000 ? el("div", { class: "long", tabindex: "0", role: "region", "aria-label": "A long text" }, node) : node);

function copyButton(text, what, name = "Copy") {
  const button = el("button", { type: "button", class: "copy", text: name });
  button.setAttribute("aria-label", `Copy ${what}`);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { class: "offscreen" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = done ? "Copied" : "Select and copy it by hand";
    setTimeout(() => (button.textContent = name), 2000);
  });
  return button;
}

// Return a button that copies the instruction of a prompt, if it has one; where there are worked examples, it says that they stay behind.
function copyInstruction({ instruction, demos }, what) {
  if (!instruction) return null;
  if (!demos.length) return copyButton(instruction, what);
  return copyButton(instruction, `the instruction of ${what}, without the worked examples`, "Copy the instruction");
}

// Return a prompt with its worked examples under a title, and a button that copies the instruction.
function promptBox(title, prompt) {
  const demos = prompt.demos.map((demo, i) =>
    el("li", {}, Object.entries(demo.inputs).map(([name, value]) => verbatim(`${name}: ${value}`, "div")), verbatim(`\u21d2 ${demo.output}`, "div")));
  return el("div", { class: "prompt" },
    el("div", { class: "prompt-head" }, el("h3", { text: title }), copyInstruction(prompt, `the ${title.toLowerCase()}`)),
    prompt.instruction ? verbatim(prompt.instruction) : el("p", { class: "quiet", text: "(no instruction)" }),
    demos.length ? el("details", { open: demos.length < 3 }, el("summary", { text: plural(demos.length, "worked example") }), el("ol", {}, demos)) : null);
}

// Return a change of blanks alone with signs for them: nobody would see it. What was taken away breaks no line.
function blanksShown(text, kind) {
  return text.trim() ? text : text.replace(/ /g, "\u2423").replace(/\n/g, kind === "del" ? "\u21b5" : "\u21b5\n");
}

// Return the words of `after` as nodes, with what was added and what was taken away from `before` marked.
function wordDiff(before, after) {
  const [a, b] = [before, after].map((text) => text.match(/\s+|[^\s]+/g) || []);
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const steps = left.length * right.length > 4e6 ? [["del", left.join("")], ["ins", right.join("")]] : commonSteps(left, right);
  const pieces = [["same", a.slice(0, start).join("")], ...steps, ["same", a.slice(a.length - end).join("")]];
  // A space that stays between two words that change belongs to both: what changed is read at a stretch.
  const nodes = [], changed = { del: "", ins: "" };
  const flush = () => {
    for (const kind of ["del", "ins"]) if (changed[kind]) nodes.push(el(kind, { text: blanksShown(changed[kind], kind) }));
    changed.del = changed.ins = "";
  };
  pieces.filter(([, text]) => text).forEach(([kind, text], at, all) => {
    if (kind !== "same") changed[kind] += text;
    else if (!text.trim() && (changed.del || changed.ins) && at + 1 < all.length && all[at + 1][0] !== "same") { changed.del += text; changed.ins += text; }
    else { flush(); nodes.push(document.createTextNode(visible(text))); }
  });
  flush();
  return nodes;
}

// Return the steps from one list of words to another along their longest common part.
function commonSteps(a, b) {
  const width = b.length + 1, lengths = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] = a[i] === b[j] ? lengths[(i + 1) * width + j + 1] + 1 : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const steps = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { steps.push(["same", a[i++]]); j++; }
    else if (j >= b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) steps.push(["del", a[i++]]);
    else steps.push(["ins", b[j++]]);
  }
  return steps;
}

const axisOf = (grid, own = {}) => ({ ...grid, ...own, title: own.title ? { font: { size: 13 }, standoff: 8, ...own.title } : undefined });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Return colour number i of a row of eight, to tell things apart; never the only sign.
const colourOf = (i) => colour(`c${(i % 8) + 1}`);

// Draw a chart at the end of `parent` and return its place, which has `redraw`. `about` says in words what it shows, for
// those who do not see it; `traces` and `layout` are functions, called again when the colours change; `onClick` gets the
// point that was chosen.
function chart(parent, about, traces, layout = () => ({}), onClick = null) {
  const place = el("div", { class: "chart" });
  parent.append(el("figure", { role: "group", "aria-label": about }, place, el("figcaption", { text: about })));
  const draw = () => {
    if (waiting) return Promise.resolve(); // it will be drawn
    const grid = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
    const own = layout();
    const whole = {
      font: { family: "system-ui, sans-serif", size: 13, color: colour("text") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 16, t: 12, b: 44 }, height: 340, showlegend: false, hovermode: "closest",
      hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("text") }, align: "left" },
      legend: { orientation: "h", y: -0.2 },
      ...own, xaxis: axisOf(grid, own.xaxis), yaxis: axisOf(grid, own.yaxis),
    };
    return Plotly.react(place, traces(), whole, { displayModeBar: false, responsive: true, scrollZoom: false });
  };
  const first = async () => {
    try {
      await draw();
      if (onClick) place.on("plotly_click", (event) => onClick(event.points[0]));
    } catch (error) {
      place.replaceChildren(el("p", { class: "bad", text: `This chart cannot be drawn: the data are damaged (${error.message}).` }));
    }
  };
  place.style.minHeight = `${layout().height ?? 340}px`; // so nothing moves when it is drawn
  drawn.push(waiting ? new Promise((resolve) => waiting.push(() => resolve(first()))) : first());
  redraw.push(draw);
  place.redraw = draw;
  return place;
}

// Draw a table at the end of `parent`: sorted by the heads, searched, filtered, some rows at a time.
//   columns: [{ name, value: (row) => what is sorted and searched, cell: (row) => node or text, right: numbers,
//     short: on one line, wide: texts that need room }]
//   filters: [{ name, value: (row) => text, start: chosen at first }]
//   options: { size: rows at a time, detail: (row) => node shown below a row, search: false for none }
function dataTable(parent, caption, columns, rows, filters = [], options = {}) {
  const { size = 25, detail = null, search = rows.length > 8 } = options;
  const chosen = new Map(filters.filter((each) => each.start).map((each) => [each.name, each.start]));
  let sorted = null, descending = false, shown = size, wanted = "";
  const body = el("tbody"), status = el("p", { class: "quiet", role: "status" });
  const more = el("button", { type: "button", text: "Show more", on: { click: () => { shown += 4 * size; update(); } } });
  const kindOf = (column) => ["right", "short", "wide"].filter((kind) => column[kind]).join(" ") || null;
  const rest = onPaper("The others are in the page itself, and in what --json prints.");
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", text: column.name, on: { click: () => {
      descending = sorted === column ? !descending : Boolean(column.right);
      sorted = column;
      update();
    } } });
    return el("th", { scope: "col", class: kindOf(column) }, button, onPaper(column.name));
  });
  const found = rows.map((row) => ({ row, text: null }));
  const matches = (each) => {
    for (const filter of filters) if (chosen.get(filter.name) && filter.value(each.row) !== chosen.get(filter.name)) return false;
    if (!wanted) return true;
    each.text ??= columns.map((column) => String(column.value(each.row) ?? "")).join("\n").toLowerCase();
    return each.text.includes(wanted);
  };
  function update() {
    let some = found.filter(matches);
    if (sorted) {
      const sign = descending ? -1 : 1;
      some = some.map((each) => [sorted.value(each.row), each]).sort(([a], [b]) => {
        if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
        if (b === null || b === undefined) return -1;
        return sign * (a < b ? -1 : a > b ? 1 : 0);
      }).map(([, each]) => each);
    }
    columns.forEach((column, i) => heads[i].setAttribute("aria-sort", column !== sorted ? "none" : descending ? "descending" : "ascending"));
    body.replaceChildren(...some.slice(0, shown).flatMap(({ row }) => rowOf(row)));
    status.textContent = `${count(Math.min(shown, some.length))} of ${count(some.length)} shown${some.length < rows.length ? ` (of ${count(rows.length)} in all)` : ""}`;
    more.hidden = rest.hidden = shown >= some.length;
  }
  function rowOf(row) {
    const cells = columns.map((column, i) => {
      const content = column.cell ? column.cell(row) : visible(column.value(row) ?? "\u2013");
      return el(i ? "td" : "th", { class: kindOf(column), scope: i ? null : "row", dir: column.right ? null : "auto" }, content);
    });
    const line = el("tr", {}, cells);
    if (!detail) return [line];
    const below = el("tr", { class: "detail", hidden: true });
    const button = el("button", { type: "button", class: "expand", "aria-expanded": "false", "aria-label": "Details", text: "+" });
    button.addEventListener("click", () => {
      if (!below.childElementCount) below.append(el("td", { colspan: columns.length }, detail(row)));
      below.hidden = !below.hidden;
      button.setAttribute("aria-expanded", String(!below.hidden));
      button.textContent = below.hidden ? "+" : "\u2212";
    });
    cells[0].prepend(button, " ");
    return [line, below];
  }
  const controls = el("div", { class: "controls" });
  if (search) controls.append(el("label", {}, "Search ", el("input", { type: "search", on: { input: (event) => { wanted = event.target.value.toLowerCase(); shown = size; update(); } } })));
  for (const filter of filters) {
    const values = [...new Set(rows.map(filter.value))].sort();
    const tally = new Map(values.map((value) => [value, rows.filter((row) => filter.value(row) === value).length]));
    const select = el("select", { on: { change: (event) => { chosen.set(filter.name, event.target.value); shown = size; update(); } } },
      el("option", { value: "", text: `all (${count(rows.length)})` }),
      values.map((value) => el("option", { value, text: `${value} (${count(tally.get(value))})`, selected: chosen.get(filter.name) === value })));
    controls.append(el("label", {}, `${filter.name} `, select));
  }
  parent.append(controls, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, heads)), body)), status, more, rest);
  update();
}

// Return a list of names and values.
function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { dir: "auto" }, value instanceof Node ? value : visible(value))]));
}

// Browsers may refuse to keep anything for a file: then nothing is remembered.
function remembered(storage, name) {
  try { return JSON.parse(window[storage].getItem(`localprompt ${name}`)); } catch { return null; }
}

function remember(storage, name, value) {
  try { window[storage].setItem(`localprompt ${name}`, JSON.stringify(value)); } catch { /* see above */ }
}

function startTheme() {
  const root = document.documentElement, button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    redraw.forEach((each) => each());
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("localStorage", "theme", root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  button.setAttribute("aria-pressed", String(isDark()));
}

// On paper everything folded is open, and charts have the colours of paper.
function startPrint() {
  const paper = matchMedia("print");
  let opened = [];
  paper.addEventListener("change", () => {
    if (paper.matches) opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => (each.open = paper.matches));
    redraw.forEach((each) => each());
  });
}

// The page of what goes on loads itself again; what its reader opened, chose and wrote stays as it is.
function startRenewal() {
  const seconds = Number(document.documentElement.dataset.renewed), name = `page ${location.pathname}`;
  if (!seconds) return;
  const fields = () => [...document.querySelectorAll("main input, main select")];
  const folds = () => [...document.querySelectorAll("main details, main [data-key]")];
  const named = (nodes) => {
    const seen = new Map();
    return nodes.map((node) => {
      const own = node.dataset.key || `${node.value && node.type === "radio" ? node.value : ""}${(node.closest("label") || node.querySelector("summary") || node).firstChild?.textContent ?? ""}`;
      const key = `${node.closest("section")?.id} ${own}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return [`${key} ${seen.get(key)}`, node];
    });
  };
  const isOpen = (node) => (node.tagName === "DETAILS" ? node.open : node.getAttribute("aria-expanded") === "true");
  const before = remembered("sessionStorage", name);
  if (before) {
    for (const [key, node] of named(fields())) {
      if (!(key in before.fields)) continue;
      if (node.type === "radio" || node.type === "checkbox") {
        if (node.checked === before.fields[key]) continue;
        node.checked = before.fields[key];
      } else if (node.value === before.fields[key]) continue;
      else node.value = before.fields[key];
      node.dispatchEvent(new Event("input", { bubbles: true }));
      node.dispatchEvent(new Event("change", { bubbles: true }));
    }
    for (let depth = 0; depth < 40; depth++) {
      const closed = named(folds()).filter(([key, node]) => key in before.folds && isOpen(node) !== before.folds[key]);
      if (!closed.length) break;
      closed.forEach(([, node]) => (node.tagName === "DETAILS" ? (node.open = !node.open) : node.click()));
    }
    Promise.all(drawn).then(() => scrollTo(0, before.scroll));
  }
  const pause = el("button", { type: "button", id: "pause", "aria-pressed": "false", text: "Pause renewal" });
  pause.addEventListener("click", () => pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true")));
  document.getElementById("theme").before(el("span", { class: "quiet", text: `renewed every ${seconds} s` }), pause);
  const isBusy = () => pause.getAttribute("aria-pressed") === "true" || !getSelection().isCollapsed || document.activeElement?.matches("input[type=search], select");
  Promise.all(drawn).then(() => setInterval(() => {
    if (isBusy()) return;
    const values = named(fields()).map(([key, node]) => [key, node.type === "radio" || node.type === "checkbox" ? node.checked : node.value]);
    const state = named(folds()).map(([key, node]) => [key, isOpen(node)]);
    remember("sessionStorage", name, { scroll: scrollY, fields: Object.fromEntries(values), folds: Object.fromEntries(state) });
    location.reload();
  }, 1000 * seconds));
}

// Draw a part of the page; where its data are not what they should be, say so and go on.
function attempt(draw) {
  const before = main.lastElementChild;
  try {
    draw();
  } catch (error) {
    const node = main.lastElementChild === before ? main : main.lastElementChild;
    node.append(el("p", { class: "bad", text: `A part of this page cannot be shown: the data are damaged (${error.message}).` }));
  }
}

// Called at the end of each kind's script: everything is on the page.
function ready() {
  startTheme();
  startPrint();
  startRenewal();
  document.addEventListener("DOMContentLoaded", () => { // Plotly, whose script is long, is there then, and texts before it
    const left = waiting;
    waiting = null;
    const next = () => { if (left.length) { left.shift()(); setTimeout(next); } };
    setTimeout(next);
  });
  Promise.all(drawn).then(() => (document.documentElement.dataset.ready = "true"));
}
