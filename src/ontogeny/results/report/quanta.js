// Quanta: clusters of tokens; a list to search and order, and the one that is chosen.

const quanta = report.quanta ? report.quanta.index : [];
const quantumIds = quanta.map((entry) => entry.quantum);
const wordsOf = (numbers) => numbers.map((number) => report.quanta.words[number]);
const pages = new Map();
const choice = { quantum: null, query: "", by: "n_tokens", ascending: false };
const ORDER_NAMES = {
  n_tokens: "largest first",
  emergence_step: "earliest first",
  cohesion: "most cohesive first",
  stability: "most stable first",
};

function openQuantum(id) {
  if (!pages.has(id)) {
    const page = readJson(`quantum-${id}`),
      named = (row) => Object.fromEntries(report.quanta.sample.map((name, index) => [name, row[index]]));
    page.samples.rows = page.samples.rows.map(named);
    page.facts = page.facts.map((text, index) => ({ analysis: "quanta", text, ...report.quanta.facts[index] }));
    pages.set(id, page);
  }
  return pages.get(id);
}

// A short query looks at numbers and predicted tokens; a longer one at every context too, which unfolds every page.
function fitsQuery(entry, query) {
  if (!query) return true;
  if (String(entry.quantum) === query) return true;
  const holds = (numbers) => wordsOf(numbers).join("").toLowerCase().includes(query);
  if (wordsOf(entry.words).some((word) => word.toLowerCase().includes(query))) return true;
  return query.length > 2 && openQuantum(entry.quantum).samples.rows.some((row) => holds(row.text));
}

function listedQuanta() {
  const query = choice.query.toLowerCase();
  const sign = choice.by === "emergence_step" ? 1 : -1;
  const order = (a, b) => {
    const [x, y] = [a.by[choice.by], b.by[choice.by]];
    if (x === null || y === null) return (x === null) - (y === null) || a.quantum - b.quantum;
    return sign * (x - y) || a.quantum - b.quantum;
  };
  return quanta
    .filter((entry) => fitsQuery(entry, query))
    .sort(order)
    .map((entry) => entry.quantum);
}

// What it predicts, each time after the two tokens before it.
function hintsOf(entry) {
  return entry.hints.map(([before, token]) => [
    el("span", { class: "context" }, report.quanta.words[before]),
    el("mark", { class: "predicted" }, report.quanta.words[token]),
    "  ",
  ]);
}

function drawQuantaList() {
  const entries = new Map(quanta.map((entry) => [entry.quantum, entry]));
  const found = listedQuanta();
  const lines = found.map((id) => {
    const entry = entries.get(id);
    return el(
      "li",
      {},
      el(
        "a",
        { href: `#quantum-${id}`, "aria-current": choice.quantum === id ? "true" : null },
        el("b", {}, String(id)),
        spark(entry.norm),
        el("small", { title: "tokens" }, String(entry.n_tokens)),
        el("bdi", { class: "first" }, hintsOf(entry)),
      ),
    );
  });
  at("quanta-list").replaceChildren(...(lines.length ? lines : [el("li", { class: "empty" }, "none fits")]));
  const place = at("quantum-choice");
  place.replaceChildren(
    ...found.map((id) =>
      el(
        "option",
        { value: id, selected: id === choice.quantum },
        `Quantum ${id} · ${wordsOf(entries.get(id).words)[0]}`,
      ),
    ),
  );
}

function drawQuanta() {
  if (!report.quanta) return;
  at("quanta").append(
    el(
      "aside",
      {},
      el("input", {
        type: "search",
        id: "search-quanta",
        placeholder: "search: number, token, context",
        "aria-label": "Search the quanta",
        oninput: (event) => {
          choice.query = event.target.value;
          drawQuantaList();
        },
      }),
      el(
        "select",
        {
          id: "order-quanta",
          "aria-label": "Order of the quanta",
          onchange: (event) => {
            choice.by = event.target.value;
            drawQuantaList();
          },
        },
        report.quanta.orders.map((name) => el("option", { value: name }, ORDER_NAMES[name])),
      ),
      el("ol", { id: "quanta-list", class: "list quanta" }),
    ),
    el(
      "div",
      {},
      el(
        "div",
        { class: "choice" },
        el("button", { type: "button", title: "previous (←)", onclick: () => turnQuantum(-1) }, "← previous"),
        el("select", {
          id: "quantum-choice",
          "aria-label": "Quantum",
          onchange: (event) => showQuantum(Number(event.target.value)),
        }),
        el("button", { type: "button", title: "next (→)", onclick: () => turnQuantum(1) }, "next →"),
      ),
      el("div", { id: "quantum" }),
    ),
  );
  drawQuantaList();
}

function turnQuantum(by) {
  const order = listedQuanta();
  if (order.length) showQuantum(order.includes(choice.quantum) ? step(order, choice.quantum, by) : order[0]);
}

function showQuantum(id) {
  if (!quantumIds.includes(id)) return;
  choice.quantum = id;
  forgetRemovedCharts();
  at("quantum").replaceChildren(drawQuantum(id));
  drawQuantaList();
  const current = at("quanta-list").querySelector("[aria-current]");
  if (current) current.scrollIntoView({ block: "nearest" });
  if (location.hash !== `#quantum-${id}`) history.replaceState(null, "", `#quantum-${id}`);
}
