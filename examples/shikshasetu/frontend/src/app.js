// The page: the standards of a grade. What makes text is apart from what touches
// the page, so that it can be tested without a browser.

export function path(grade) {
  return "/api/v1/curriculum/standards" + (grade ? "?grade=" + encodeURIComponent(grade) : "");
}

export function line(standard) {
  return `${standard.code}: ${standard.description}`;
}

async function show(grade) {
  const list = document.getElementById("standards");
  const answer = await fetch(path(grade)).catch(() => null);
  const lines = answer?.ok ? (await answer.json()).map(line) : ["The standards cannot be read now. Try again in a minute."];
  list.replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

if (typeof document !== "undefined") {
  const grades = document.getElementById("grade");
  grades.append(new Option("all", ""), ...Array.from({ length: 12 }, (_, i) => new Option(String(i + 1))));
  grades.addEventListener("change", () => show(grades.value));
  show("");
}
