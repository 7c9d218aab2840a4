"use strict";
const table = document.getElementById("cases");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const wanted = { status: new Set(), label: new Set() };
const search = document.getElementById("search");

function show() {
  const words = search.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = ["status", "label"].every((key) => !wanted[key].size || wanted[key].has(row.dataset[key]));
    row.hidden = !(fits && (!words || row.textContent.toLowerCase().includes(words)));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
}

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

function compare(first, second) {
  if (first === "" || second === "") return (first === "") - (second === "");
  const numbers = [Number(first), Number(second)];
  if (numbers.every(Number.isFinite)) return numbers[0] - numbers[1];
  return first.localeCompare(second, undefined, { numeric: true });
}

function sortBy(header, column) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const order = rows.map((row) => [valueOf(row, column), row]);
  order.sort((first, second) => {
    const empty = (first[0] === "") - (second[0] === "");
    return empty || (down ? -1 : 1) * compare(first[0], second[0]);
  });
  body.append(...order.map((pair) => pair[1]));
}

for (const [column, header] of Array.from(table.tHead.rows[0].cells).entries()) {
  if (!header.textContent) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = header.textContent;
  button.addEventListener("click", () => sortBy(header, column));
  header.replaceChildren(button);
}
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    const chosen = wanted[chip.dataset.filter];
    if (!chosen.delete(chip.dataset.value)) chosen.add(chip.dataset.value);
    chip.setAttribute("aria-pressed", String(chosen.has(chip.dataset.value)));
    show();
  });
}
search.addEventListener("input", show);

const box = document.getElementById("box");
const pictures = () => Array.from(body.querySelectorAll("tr:not([hidden]) a.open"));
let opened = null;

function open(link) {
  const row = link.closest("tr");
  const result = Array.from(row.querySelectorAll(".class, .reason, .probability"), (cell) => cell.innerText.trim());
  const path = Array.from(row.querySelector(".path").childNodes, (node) => node.cloneNode());
  const image = document.getElementById("box-picture");
  opened = link;
  image.src = link.href;
  image.alt = link.firstElementChild.alt;
  document.getElementById("box-words").replaceChildren(...path, ", ", result.filter(Boolean).join(", "));
  if (!box.open) box.showModal();
}

body.addEventListener("click", (event) => {
  const link = event.target.closest("a.open");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link);
});
box.addEventListener("click", (event) => {
  if (event.target === box) box.close();
});
box.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const links = pictures();
  const next = links[links.indexOf(opened) + step];
  if (step && next) open(next);
});
box.addEventListener("close", () => opened.focus());
document.getElementById("bar").hidden = false;
show();
