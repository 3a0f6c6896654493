// The latents of the report: a list to search and sort, and the card of the one that is chosen.

const classes = [];

function colourOfClass(name) {
  if (!classes.includes(name)) classes.push(name);
  return report.colours.categorical[classes.indexOf(name) % report.colours.categorical.length];
}

function spark(values) {
  const norms = values.map((norm) => norm || 0),
    largest = Math.max(...norms, 1e-9),
    step = 56 / Math.max(norms.length - 1, 1);
  return sv(
    "svg",
    { viewBox: "-1 -1 58 20", class: "spark", "aria-hidden": "true" },
    sv("path", {
      d: pathOf(norms.map((norm, index) => [index * step, 17 - (16 * norm) / largest])),
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.5,
    }),
  );
}

const list = { query: "", by: "" };

function listed() {
  const wanted = list.query.toLowerCase();
  const rows = report.index
    .filter((entry) => `${entry.latent} ${entry.class} ${entry.text}`.toLowerCase().includes(wanted))
    .map((entry) => entry.latent);
  if (!list.by) return rows;
  const value = (id) => {
    const fact = openCard(id).facts.find((each) => `${each.analysis}.${each.name}` === list.by);
    return fact && typeof fact.value === "number" ? fact.value : -Infinity;
  };
  return rows.sort((a, b) => value(b) - value(a));
}

function drawList() {
  const entries = new Map(report.index.map((entry) => [entry.latent, entry]));
  at("list").replaceChildren(
    ...listed()
      .map((id) => entries.get(id))
      .map((entry) =>
        el(
          "li",
          {},
          el(
            "a",
            { href: `#latent-${entry.latent}`, "aria-current": shown.latent === entry.latent ? "true" : null },
            el("span", {
              class: "dot",
              style: { background: entry.class ? colourOfClass(entry.class) : "transparent" },
              title: entry.class,
            }),
            el("b", {}, String(entry.latent)),
            spark(entry.norm),
            el("bdi", { class: "first" }, entry.text),
          ),
        ),
      ),
  );
  if (!at("list").childElementCount) at("list").append(el("li", { class: "empty" }, "none fits"));
}

function drawLatents() {
  if (!ids.length)
    return at("latents").append(
      el(
        "p",
        { class: "empty" },
        "No result here has a table of latents: put analyses such as ",
        el("code", {}, "[analyses.statistics]"),
        " into the recipe and run ",
        el("code", {}, "ontogeny analyze"),
        ".",
      ),
    );
  const names = [
    ...new Set(
      ids.slice(0, 3).flatMap((id) =>
        openCard(id)
          .facts.filter((fact) => typeof fact.value === "number")
          .map((fact) => `${fact.analysis}.${fact.name}`),
      ),
    ),
  ];
  at("latents").append(
    el(
      "aside",
      {},
      el("input", {
        type: "search",
        id: "search",
        placeholder: "search: number, class, text",
        "aria-label": "Search the latents",
        oninput: (event) => {
          list.query = event.target.value;
          drawList();
        },
      }),
      el(
        "select",
        {
          "aria-label": "Order of the latents",
          onchange: (event) => {
            list.by = event.target.value;
            drawList();
          },
        },
        el("option", { value: "" }, "in the order asked for"),
        names.map((name) => el("option", { value: name }, `by ${words(name).replace(".", ": ")}`)),
      ),
      el("ol", { id: "list", class: "list" }),
    ),
    el("div", { id: "card" }),
  );
  drawList();
}

function showLatent(id) {
  if (!ids.includes(id)) return;
  shown.latent = id;
  forgetRemovedCharts();
  at("card").replaceChildren(drawCard(id));
  drawList();
  const current = at("list").querySelector("[aria-current]");
  if (current) current.scrollIntoView({ block: "nearest" });
  if (location.hash !== `#latent-${id}`) history.replaceState(null, "", `#latent-${id}`);
}
