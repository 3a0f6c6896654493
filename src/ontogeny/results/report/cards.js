// Cards: one latent at a time, unfolded when it is opened; one snapshot, or all together, colours its text.

const shown = { latent: null, source: null };
const opened = new Map();

function openCard(latent) {
  if (!opened.has(latent)) opened.set(latent, readJson(`card-${latent}`));
  return opened.get(latent);
}

function factOf(card, name) {
  return card.facts.find((fact) => fact.name === name);
}

function lack(part, what) {
  const analysis = report.missing[part];
  return el(
    "p",
    { class: "empty" },
    analysis
      ? [
          `No ${what} yet: put `,
          el("code", {}, `[analyses.${analysis}]`),
          " into the recipe and run ",
          el("code", {}, "ontogeny analyze"),
          ".",
        ]
      : `No ${what} for this latent.`,
  );
}

function sourceBar(card, redraw) {
  const pick = (source) => {
    shown.source = source;
    redraw();
  };
  const norms = card.trajectory ? card.trajectory.norm : null,
    largest = norms ? Math.max(...norms.map((norm) => norm || 0), 1e-9) : 1;
  const button = (label, source, height) =>
    el(
      "button",
      {
        type: "button",
        role: "radio",
        "aria-checked": String(shown.source === source),
        "data-source": source === null ? "" : source,
        onclick: () => pick(source),
        title: source === null ? "the code that all snapshots share" : `${source}: contribution and own evidence`,
      },
      height === null ? null : el("i", { style: { height: `${Math.round(2 + 16 * height)}px` } }),
      label,
    );
  return el(
    "div",
    { class: "bar", role: "radiogroup", "aria-label": "Snapshot that colours the text" },
    button("all", null, null),
    report.sources.map((source, index) => button(source, source, norms ? (norms[index] || 0) / largest : null)),
  );
}

function trajectoryOf(card) {
  if (!card.trajectory) return lack("trajectory", "trajectory");
  const norm = lineOverTime("Decoder norm over training", "norm, normalised space", [
    { label: "", y: card.trajectory.norm, low: null, high: null },
  ]);
  return [pictureOf(norm, { width: 460, height: 210 }), scalingOf(card)];
}

function scalingOf(card) {
  if (!card.scaling) return lack("scaling", "latent scaling");
  const ends = (name, sign) =>
    card.scaling[name].map((value, i) => {
      const error = card.scaling[`${name}_se`][i];
      return value === null || error === null ? null : value + sign * 1.96 * error;
    });
  const curves = Object.entries(NUS)
    .filter(([name]) => card.scaling[name].some((value) => value !== null))
    .map(([name, label]) => ({ label, y: card.scaling[name], low: ends(name, -1), high: ends(name, 1) }));
  const probe = card.scaling.probe[0],
    place = Math.max(report.sources.indexOf(probe), 0);
  // Of several hook points the probe's alone: three curves for each would be too many to read.
  const picture = lineOverTime("Latent scaling: is it really there?", "ν", curves, report.hook_points[place]);
  picture.colours = report.colours.categorical.slice(1);
  picture.notes = [
    `1: as much as in ${probe || "the probe's snapshot"}, 0: none of it, whatever the decoder norm says; bands are 95 % intervals`,
  ];
  return pictureOf(picture, { width: 460, height: 220 });
}

const NUS = {
  nu_error: "ν, its direction",
  nu_own: "ν, its decoder there",
  nu_reconstruction: "ν, written by all latents",
};

// A curve per hook point, or of one alone: another place in the model is no later moment of its training.
function lineOverTime(title, label, curves, only = null) {
  const times = report.times;
  const x = times ? times.places : report.sources.map((_, index) => index);
  const axis = times
    ? { label: times.unit, kind: "time", ticks: [] }
    : { label: "", kind: "category", ticks: report.sources };
  return {
    kind: "line",
    title,
    x: axis,
    y: { label, kind: "linear", ticks: [] },
    colours: report.colours.categorical,
    notes: [],
    curves: curves.flatMap((curve) => splitByHookPoint({ ...curve, x }, only)),
  };
}

function splitByHookPoint(curve, only) {
  const points = [...new Set(report.hook_points)].filter((point) => only === null || point === only);
  return points
    .map((point) => {
      const pick = (values) => values && values.filter((_, index) => report.hook_points[index] === point);
      const label = points.length > 1 ? point : curve.label;
      return { label, x: pick(curve.x), y: pick(curve.y), low: pick(curve.low), high: pick(curve.high) };
    })
    .filter((part) => part.y.some((value) => value !== null));
}

function logitsOf(card) {
  if (!card.logits) return lack("logits", "effect on the next token");
  const known = Object.keys(card.logits),
    wanted = shown.source !== null && card.logits[shown.source] ? shown.source : known[known.length - 1];
  const sides = card.logits[wanted],
    largest = Math.max(...[...sides.top, ...sides.bottom].map((pair) => Math.abs(pair[1] || 0)), 1e-9);
  const list = (pairs, heading, kind) =>
    el(
      "div",
      {},
      el("h4", {}, heading),
      el(
        "ol",
        { class: `logits ${kind}` },
        pairs.map(([token, effect, text]) =>
          el(
            "li",
            { title: text },
            el("span", { class: "token" }, token),
            el("b", { style: { "--share": (Math.abs(effect || 0) / largest).toFixed(3) } }, format(effect)),
          ),
        ),
      ),
    );
  return el(
    "div",
    {},
    el("h3", {}, "Direct effect on the next token ", el("small", {}, wanted)),
    el("div", { class: "sides" }, list(sides.top, "more likely", "up"), list(sides.bottom, "less likely", "down")),
  );
}

function directionsOf(card) {
  if (!card.directions) return lack("directions", "directions");
  const axis = { label: "", kind: "category", ticks: report.sources };
  return pictureOf(
    {
      kind: "heatmap",
      title: "Direction: cosine of decoders, snapshot by snapshot",
      x: axis,
      y: axis,
      cells: card.directions,
      limits: card.directions.flat().some((value) => value < -0.01) ? [-1, 1] : [0, 1],
      curves: [{ label: "cosine" }],
      notes: [],
    },
    { width: 460, height: 340 },
  );
}

function histogramOf(card) {
  if (!card.histogram) return lack("histogram", "histogram of codes");
  return pictureOf(
    {
      kind: "histogram",
      title: "Codes where it is active",
      x: { label: "code", kind: "linear", ticks: [] },
      y: { label: "tokens", kind: "linear", ticks: [] },
      colours: [report.colours.categorical[0]],
      notes: [],
      curves: [{ label: "", x: card.histogram.edges, y: card.histogram.counts, low: null, high: null }],
    },
    { width: 460, height: 180 },
  );
}

function factsOf(card) {
  const groups = new Map();
  for (const fact of card.facts) {
    if (fact.text === "" || fact.name === "explanation") continue;
    if (!groups.has(fact.analysis)) groups.set(fact.analysis, []);
    groups
      .get(fact.analysis)
      .push(
        el(
          "div",
          { title: fact.meaning },
          el("dt", {}, words(fact.name)),
          el(
            "dd",
            {},
            el("bdi", {}, fact.text),
            fact.unit !== "1" && fact.unit.length < 12 ? el("small", {}, ` ${fact.unit}`) : null,
          ),
        ),
      );
  }
  return [...groups].map(([analysis, facts]) =>
    el("details", { open: true, class: "numbers" }, el("summary", {}, words(analysis)), el("dl", {}, facts)),
  );
}

function smallTablesOf(card) {
  return card.small.map((table) =>
    el(
      "details",
      { class: "small", open: table.rows.length <= 6 },
      el("summary", {}, `${words(table.analysis)}: ${words(table.table)}`),
      sortableTable(
        table.columns.map((name) => ({ name, unit: "1", meaning: "" })),
        table.rows,
        table.n_rows > table.rows.length ? `${table.rows.length} of ${table.n_rows} rows` : null,
      ),
    ),
  );
}

function notesOf(card) {
  return card.notes.map((note) =>
    el(
      "blockquote",
      { class: "note" },
      note.description ? el("p", {}, el("bdi", {}, note.description)) : null,
      note.judged ? el("p", { class: "judged" }, el("bdi", {}, note.judged)) : null,
      note.text ? el("p", {}, el("bdi", {}, note.text)) : null,
      el("footer", {}, note.bookmarked ? "★ " : null, noteSources(note)),
    ),
  );
}

function noteSources(note) {
  const parts = [note.author || "unnamed", note.date, note.behaviour ? `on ${note.behaviour}` : ""].filter(Boolean);
  return parts.map((part, index) => [index ? ", " : null, el("bdi", {}, part)]);
}

function drawCard(latent) {
  const card = openCard(latent),
    explanation = factOf(card, "explanation"),
    kind = card.class;
  const silent = card.facts.some((fact) => fact.name === "n_active" && fact.value === 0);
  const examples = el("div"),
    logits = el("div"),
    bar = el("div");
  const redraw = () => {
    bar.replaceChildren(sourceBar(card, redraw));
    examples.replaceChildren(examplesOf(card));
    logits.replaceChildren(logitsOf(card));
  };
  redraw();
  return el(
    "article",
    { class: "card", "aria-label": `Latent ${latent}` },
    el(
      "header",
      {},
      el("h2", {}, `Latent ${latent}`),
      kind ? el("span", { class: "chip", style: { "--chip": colourOfClass(kind) } }, kind) : null,
      explanation && explanation.text ? el("p", { class: "explanation" }, el("bdi", {}, explanation.text)) : null,
      notesOf(card),
    ),
    silent ? el("p", { class: "empty" }, "This latent fires on none of the held-out tokens.") : null,
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        { class: "main" },
        bar,
        el(
          "p",
          { class: "key" },
          el("span", { class: "token", style: { "--share": "0.8" } }, "ground"),
          " gate × contribution   ",
          el("span", { class: "token", style: { "--own": "1", "--owncolour": "var(--for)" } }, "underline"),
          " the snapshot's own evidence, ",
          el("span", { class: "token", style: { "--own": "1", "--owncolour": "var(--against)" } }, "against"),
        ),
        examples,
      ),
      el("div", { class: "side" }, trajectoryOf(card), logits, directionsOf(card), histogramOf(card)),
    ),
    el("div", { class: "below" }, factsOf(card), smallTablesOf(card)),
  );
}
