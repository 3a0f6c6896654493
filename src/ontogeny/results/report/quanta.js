// Quanta: clusters of tokens, one at a time; a list to search and order, its tokens in context, its loss over snapshots.

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
const AT_ONCE = 100; // samples shown before more are asked for

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

// Losses of the samples at some snapshots: bytes in units of so many nats.
function curvesOf(samples) {
  if (!samples.curves) return null;
  const bytes = unpack(samples.curves, false),
    points = report.quanta.points.length;
  return samples.rows.map((_, i) => [...bytes.subarray(i * points, (i + 1) * points)].map((byte) => byte * samples.unit));
}

function lossOf(page) {
  const { names, unit, places } = report.quanta.snapshots;
  const x = unit ? { label: unit, kind: "time", ticks: [] } : { label: "", kind: "category", ticks: names };
  return pictureOf(
    {
      kind: "line",
      title: "Mean loss over snapshots",
      x,
      y: { label: "nats", kind: "linear", ticks: [] },
      colours: report.colours.categorical,
      notes: ["band: 95 % interval over documents"],
      curves: [{ label: "", x: places, y: page.loss.mean, low: page.loss.low, high: page.loss.high }],
    },
    { width: 460, height: 230 },
  );
}

function contextOf(row, query) {
  const texts = wordsOf(row.text);
  const mark = (text) => (query.length > 1 && text.toLowerCase().includes(query) ? el("span", { class: "found" }, text) : text);
  return el(
    "p",
    { class: "window" },
    el("span", { class: "context before" }, texts.slice(0, row.at).map(mark)),
    el("mark", { class: "predicted" }, texts[row.at]),
    el("span", { class: "context" }, texts.slice(row.at + 1).map(mark)),
  );
}

function aboutSample(row) {
  return [
    `document ${row.document}, position ${row.position}`,
    row.centrality === null ? null : `mean cosine to the others ${format(row.centrality)}`,
    row.membership === null ? null : `share in this quantum ${format(row.membership)}`,
  ]
    .filter(Boolean)
    .join("; ");
}

function samplesOf(page) {
  const curves = curvesOf(page.samples),
    query = choice.query.trim().toLowerCase(),
    box = el("div", { class: "samples" });
  const more = (from) => {
    const rows = page.samples.rows.slice(from, from + AT_ONCE).map((row, i) =>
      el(
        "div",
        { class: "sample" },
        el(
          "div",
          { title: aboutSample(row) },
          curves ? spark(curves[from + i]) : null,
          el("small", {}, row.loss === null ? "" : `${Number(row.loss.toPrecision(2))} nats`),
        ),
        contextOf(row, query),
      ),
    );
    const left = page.samples.rows.length - from - AT_ONCE;
    const button = el("button", { type: "button", class: "more" }, `${Math.min(left, AT_ONCE)} more`);
    button.addEventListener("click", () => {
      button.remove();
      more(from + AT_ONCE);
    });
    box.append(...rows, ...(left > 0 ? [button] : []));
  };
  more(0);
  return box;
}

function linkTo(id) {
  return quantumIds.includes(id) ? el("a", { href: `#quantum-${id}` }, `quantum ${id}`) : `quantum ${id}`;
}

function neighboursOf(page) {
  if (!page.neighbours.length) return null;
  const entries = new Map(quanta.map((entry) => [entry.quantum, entry]));
  return el(
    "section",
    { class: "near" },
    el("h3", {}, "Nearest quanta ", el("small", {}, "mean cosine over pairs")),
    el(
      "ul",
      { class: "plain" },
      page.neighbours.map(([other, cosine, error]) =>
        el(
          "li",
          {},
          linkTo(other),
          el("bdi", { class: "first" }, entries.has(other) ? hintsOf(entries.get(other)) : null),
          el("b", {}, `${format(cosine)}${error === null ? "" : ` ± ${format(Number(error.toPrecision(2)))}`}`),
        ),
      ),
    ),
  );
}

const EVENTS = {
  birth: () => "born here: no cluster before shares enough of its tokens",
  kept: (link) => `is cluster ${link.match} of before`,
  merge: (link) => `merged from ${link.others + 1} clusters, most of it from ${link.match}`,
  split: (link) => `split off from cluster ${link.match}`,
};

function historyOf(page) {
  if (!page.history.length) return null;
  return el(
    "section",
    {},
    el("h3", {}, "What it was before"),
    el(
      "ul",
      { class: "plain" },
      page.history.map((link) =>
        el(
          "li",
          {},
          el("b", {}, link.to_snapshot),
          el("bdi", {}, (EVENTS[link.event] || (() => link.event))(link)),
          el("small", { title: `from ${link.from_snapshot}` }, `Jaccard ${format(link.jaccard)}`),
        ),
      ),
    ),
  );
}

function latentsOf(page) {
  if (!page.latents.length)
    return report.quanta.asked_latents ? el("p", { class: "empty" }, "No latent is enriched before its tokens.") : null;
  const columns = [
    ["latent", "1", "on before its tokens more often than before those of other quanta"],
    ["on", "1", "its tokens with the latent on, of those in the held-out text"],
    ["lift", "1", "that share over the one among all clustered tokens"],
    ["log_odds", "nats", "against other quanta, with its 95 % interval over documents"],
    ["q", "1", "share of false ones if all up to this one are called"],
    ["half_rise_step", "step", "where its decoder norm has half risen"],
  ].map(([name, unit, meaning]) => ({ name, unit, meaning }));
  const rows = page.latents.map((latent) => columns.map((column) => latent[column.name]));
  return el("section", {}, el("h3", {}, "Latents that go with it"), sortableTable(columns, rows, null));
}

function drawQuantum(id) {
  const page = openQuantum(id),
    entry = quanta.find((each) => each.quantum === id),
    shown = page.samples.rows.length;
  return el(
    "article",
    { class: "card", "aria-label": `Quantum ${id}` },
    el(
      "header",
      {},
      el("h2", {}, `Quantum ${id}`),
      el("bdi", { class: "explanation hints" }, hintsOf(entry)),
    ),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        { class: "main" },
        el(
          "p",
          { class: "key" },
          el("mark", { class: "predicted" }, "predicted token"),
          ` in its context, most central first; curve: its own loss. ${shown} of ${page.n_samples} tokens.`,
        ),
        samplesOf(page),
      ),
      el("div", { class: "side" }, lossOf(page), historyOf(page), neighboursOf(page), latentsOf(page), factsOf(page)),
    ),
  );
}
