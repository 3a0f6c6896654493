// The card of a quantum: its tokens in context, its loss over snapshots, what it was before, what is near it.

const AT_ONCE = 100; // samples shown before more are asked for

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
