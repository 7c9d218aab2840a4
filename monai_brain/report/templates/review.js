"use strict";
const { run, cases, labels, words } = JSON.parse(document.getElementById("data").textContent);
const KEY = `monai-brain review ${run}`;
const at = (name) => document.getElementById(name);
const buttons = Array.from(document.querySelectorAll(".relabel"));
let state = { reader: "", blinded: false, place: 0, answers: {}, seen: {} };
let since = Date.now();

try {
  state = { ...state, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
} catch {
  at("state").textContent = "This browser keeps nothing: export before you close the page.";
}
state.place = Math.min(state.place, Math.max(cases.length - 1, 0));

function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch { /* said above */ }
}

function text(name, shown) {
  at(name).textContent = shown;
}

function draw() {
  const done = Object.keys(state.answers).length;
  at("progress").max = Math.max(cases.length, 1);
  at("progress").value = done;
  at("blinded").setAttribute("aria-pressed", String(state.blinded));
  if (!cases.length) {
    text("state", "There is nothing to review.");
    return;
  }
  const own = cases[state.place];
  const answer = state.answers[own.path];
  const hidden = state.blinded && !answer;
  if (!hidden) state.seen[own.path] = true;
  at("case").hidden = false;
  text("state", `${state.place + 1} of ${cases.length}, ${done} answered`);
  // a long path goes on in a new line between its parts
  const parts = state.blinded ? [`Case ${state.place + 1}`] : own.path.split(/(?<=[/_])/);
  at("path").replaceChildren(...parts.flatMap((part) => [document.createElement("wbr"), part]));
  at("plain").src = own.thumbnail;
  at("overlay").hidden = hidden || !own.picture;
  if (!at("overlay").hidden) at("overlay").src = own.picture;
  at("model").replaceChildren();
  const lines = hidden
    ? ["The model's answer is hidden until you have given yours."]
    : [`Model: ${words[own.label]}, ${(100 * own.certainty).toFixed(1)}%`, ...own.warnings];
  if (answer) lines.push(`Your answer: ${answer.decision}${answer.label ? `, ${words[answer.label]}` : ""}`);
  for (const line of lines) {
    const paragraph = document.createElement("div");
    paragraph.textContent = line;
    at("model").append(paragraph);
  }
  at("accept").disabled = at("reject").disabled = hidden;
  at("clear").disabled = !answer;
  at("previous").disabled = state.place === 0;
  at("next").disabled = state.place === cases.length - 1;
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(Boolean(answer) && answer.label === button.dataset.label));
  }
}

function move(steps) {
  const place = state.place + steps;
  if (place < 0 || place >= cases.length) return;
  state.place = place;
  since = Date.now();
  keep();
  draw();
}

function decide(decision, label) {
  const own = cases[state.place];
  const before = state.answers[own.path];
  if (state.blinded && !before && decision !== "relabel") return;
  state.answers[own.path] = {
    decision: decision === "relabel" && label === own.label ? "accept" : decision,
    label,
    blinded: before && before.label === label ? before.blinded : state.blinded && !state.seen[own.path],
    seconds: Math.round((Date.now() - since) / 100) / 10,
  };
  keep();
  draw();
  if (!state.blinded) move(1);
}

function cell(value) {
  const breaks = "\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029";
  const formula = new RegExp(`(^|[${breaks}])(?=[=+\\-@\\t\\r\uff1d\uff0b\uff0d\uff20])`, "g");
  const content = String(value).replaceAll(formula, "$1'");
  return new RegExp(`[",${breaks}]`).test(content) ? `"${content.replaceAll('"', '""')}"` : content;
}

function save() {
  if (!at("reader").value.trim()) {
    text("state", "Who read these? Enter your initials first.");
    at("reader").focus();
    return;
  }
  const lines = [["path", "model_label", "model_probability", "reader", "decision", "reader_label", "blinded", "seconds"]];
  for (const own of cases) {
    const answer = state.answers[own.path];
    if (!answer) continue;
    lines.push([own.path, own.label, own.certainty, state.reader, answer.decision, answer.label, answer.blinded, answer.seconds]);
  }
  const link = document.createElement("a");
  const content = lines.map((line) => line.map(cell).join(",") + "\n").join("");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  link.download = `review_${state.reader.replaceAll(/[^\w-]/g, "_")}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

const actions = {
  a: () => at("accept").click(),
  r: () => at("reject").click(),
  j: () => move(1),
  k: () => move(-1),
  arrowright: () => move(1),
  arrowleft: () => move(-1),
  u: () => at("clear").click(),
  b: () => at("blinded").click(),
};
at("reader").value = state.reader;
at("reader").addEventListener("input", () => { state.reader = at("reader").value.trim(); keep(); });
at("accept").addEventListener("click", () => decide("accept", cases[state.place].label));
at("reject").addEventListener("click", () => decide("reject", ""));
at("previous").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("clear").addEventListener("click", () => { delete state.answers[cases[state.place].path]; keep(); draw(); });
at("blinded").addEventListener("click", () => { state.blinded = !state.blinded; keep(); draw(); });
at("export").addEventListener("click", save);
for (const button of buttons) button.addEventListener("click", () => decide("relabel", button.dataset.label));
for (const name of ["brightness", "contrast"]) {
  at(name).addEventListener("input", () => {
    at("plain").style.filter = `brightness(${at("brightness").value}%) contrast(${at("contrast").value}%)`;
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text]")) return;
  const key = event.key.toLowerCase();
  const number = Number(key);
  if (actions[key] && !(event.target.matches("input") && key.startsWith("arrow"))) actions[key]();
  else if (number >= 1 && number <= labels.length) decide("relabel", labels[number - 1]);
  else return;
  event.preventDefault();
});
draw();
