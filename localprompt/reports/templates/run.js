// The sections of a run.

section("prompts", "Prompts", report.result ? promptBox("Found prompt", report.result.best.prompt) : null);
dataTable(section("candidates", "Candidates"), "Every prompt of the search", [
  { name: "score", value: (row) => row.mean, cell: (row) => score(row.mean), right: true },
  { name: "instruction", value: (row) => shownPrompt(row.prompt), cell: (row) => verbatim(shortened(shownPrompt(row.prompt)), "div") },
], report.candidates);
ready();
