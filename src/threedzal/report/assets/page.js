// Theme, sortable tables, the slider of each scan, and its view in 3D. The page can be read without any of it.
"use strict";
const root = document.documentElement;
root.classList.add("js");

// light, dark, or as the reader's system has it
const themes = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");
function setTheme(name) {
  if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
  themeButton.textContent = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[name];
  themeButton.dataset.name = name;
}
themeButton.addEventListener("click", () => {
  setTheme(themes[(themes.indexOf(themeButton.dataset.name) + 1) % themes.length]);
});
setTheme("auto");

// a click on a column's head sorts the rows of every group by it, the highest first, then the lowest
function valueOf(row, column) {
  const cell = row.cells[column];
  const data = cell.querySelector("data");
  const number = data ? Number(data.value) : NaN;
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}
function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? 1 : -1;
  return a.localeCompare(b, undefined, { numeric: true });
}
function sortBy(table, head) {
  const column = head.cellIndex;
  const rising = head.getAttribute("aria-sort") === "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  for (const group of table.tBodies) {
    const rows = [...group.rows].filter((row) => !row.classList.contains("group"));
    if (rows.some((row) => row.cells.length <= column)) continue;
    rows.sort((a, b) => (rising ? 1 : -1) * compared(valueOf(a, column), valueOf(b, column)));
    group.append(...rows);
  }
}
for (const table of document.querySelectorAll("table.sortable:not(.plain)")) {
  for (const head of table.tHead.rows[0].cells) {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(table, head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sortBy(table, head); }
    });
  }
}

// buttons of which one of a group is on
function press(button, group) {
  for (const other of group) {
    other.classList.toggle("on", other === button);
    other.setAttribute("aria-pressed", String(other === button));
  }
}

// which scans are shown
const filters = [...document.querySelectorAll(".filters button")];
for (const button of filters) {
  button.addEventListener("click", () => {
    press(button, filters);
    for (const card of document.querySelectorAll(".scan")) {
      card.hidden = button.dataset.word !== "" && card.dataset.word !== button.dataset.word;
    }
  });
}

// a scan: the line between picture and map, which picture, which map, and the surface in 3D
for (const card of document.querySelectorAll(".scan")) {
  const view = card.querySelector(".view");
  const slider = view.querySelector("input");
  slider.addEventListener("input", () => view.style.setProperty("--cut", slider.value));
  for (const kind of ["base", "heat"]) {
    const buttons = [...card.querySelectorAll(`button.${kind}`)];
    for (const button of buttons) {
      button.addEventListener("click", () => {
        press(button, buttons);
        for (const image of view.querySelectorAll(`img.${kind}`)) image.hidden = image.dataset.name !== button.dataset.name;
      });
    }
  }
  const truth = card.querySelector("button.truth");
  let solid = null; // the 3D view, once it was asked for
  truth?.addEventListener("click", () => {
    const on = truth.classList.toggle("on");
    truth.setAttribute("aria-pressed", String(on));
    view.querySelector(".rim").hidden = !on;
    solid?.set({ rim: on });
  });
  const turn = card.querySelector("button.solid");
  turn?.addEventListener("click", () => {
    solid ??= openSurface(card, view, { rim: truth?.classList.contains("on") ?? false });
    const on = view.classList.toggle("turned");
    turn.classList.toggle("on", on);
    turn.setAttribute("aria-pressed", String(on));
    for (const choice of card.querySelectorAll(".choice")) choice.hidden = on;
    solid.show(on);
  });
}
