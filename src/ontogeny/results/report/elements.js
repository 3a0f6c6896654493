"use strict";
// Elements: everything that reaches the page goes through here, and text only ever as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const sv = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const at = (id) => document.getElementById(id);
const readJson = (id) => JSON.parse(at(id).textContent);
const report = readJson("contents"); // what every reader sees at once; cards and pages are read when they are opened
const ids = report.index.map((entry) => entry.latent);

function format(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const words = (name) => name.replaceAll("_", " ");

// The tip follows the pointer or stands at the element that has the keyboard's focus.
const tip = {
  show(lines, x, y) {
    const node = at("tip");
    node.replaceChildren(...lines.map((line) => el("div", {}, line)));
    node.hidden = false;
    const box = node.getBoundingClientRect();
    node.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    node.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18}px`;
  },
  hide() {
    at("tip").hidden = true;
  },
};

function blend(anchors, place) {
  const where = Math.min(Math.max(place, 0), 1) * (anchors.length - 1);
  const left = Math.min(Math.floor(where), anchors.length - 2);
  const parts = [1, 3, 5].map((start) => {
    const [a, b] = [anchors[left], anchors[left + 1]].map((each) => parseInt(each.slice(start, start + 2), 16));
    return Math.round(a + (b - a) * (where - left))
      .toString(16)
      .padStart(2, "0");
  });
  return `#${parts.join("")}`;
}

// A table whose heads sort it: numbers as numbers, missing values last whichever way.
function sortableTable(columns, rows, note) {
  let sorted = null,
    ascending = false;
  const body = el("tbody");
  const cellOf = (cell, index) =>
    el(
      "td",
      { class: typeof cell === "number" ? "number" : "" },
      columns[index].name === "latent" && at(`card-${cell}`)
        ? el("a", { href: `#latent-${cell}` }, format(cell))
        : el("bdi", {}, format(cell)),
    );
  const fillBody = (shown) => body.replaceChildren(...shown.map((row) => el("tr", {}, row.map(cellOf))));
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return ascending ? order : -order;
  };
  const heads = columns.map((column, index) => {
    const button = el(
      "button",
      {
        type: "button",
        title: column.meaning,
        onclick: () => {
          ascending = sorted === index ? !ascending : false;
          sorted = index;
          heads.forEach((head, other) =>
            head.setAttribute("aria-sort", other !== index ? "none" : ascending ? "ascending" : "descending"),
          );
          fillBody([...rows].sort((a, b) => compare(a[index], b[index])));
        },
      },
      words(column.name),
      column.unit && column.unit !== "1" ? el("small", {}, column.unit) : null,
    );
    return el("th", { scope: "col", "aria-sort": "none" }, button);
  });
  fillBody(rows);
  return el(
    "figure",
    { class: "table" },
    el("div", { class: "scroll", tabindex: "0" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body)),
    note ? el("figcaption", {}, note) : null,
  );
}
