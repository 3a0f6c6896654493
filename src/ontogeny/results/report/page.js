// The page: tabs, the list of latents, keys, light and dark.

const report = readJson("contents");
const ids = report.index.map((entry) => entry.latent);
const TABS = [["overview", "Overview"], ["latents", `Latents ${ids.length}`], ["pictures", "Pictures"], ["tables", "Tables"]];
const KEYS = [["j  k", "next, previous latent"], ["←  →", "previous, next snapshot"], ["1 – 4", "the parts of the report"], ["/", "search the latents"], ["l", "time: logarithmic or linear"], ["t", "light or dark"], ["?", "these keys"]];
const classes = [];

function colourOfClass(name) {
  if (!classes.includes(name)) classes.push(name);
  return report.colours.categorical[classes.indexOf(name) % report.colours.categorical.length];
}

function showTab(name) {
  for (const [id] of TABS) {
    at(id).hidden = id !== name;
    at(`tab-${id}`).setAttribute("aria-selected", String(id === name));
  }
  if (name === "latents" && shown.latent === null && ids.length) showLatent(listed()[0] ?? ids[0]);
  if (name === "pictures" && !at("pictures").childElementCount) drawPictures();
  if (name === "tables" && !at("tables").childElementCount) drawTables();
  tip.hide();
}

function spark(values) {
  const norms = values.map((norm) => norm || 0), largest = Math.max(...norms, 1e-9), step = 56 / Math.max(norms.length - 1, 1);
  return sv("svg", { viewBox: "-1 -1 58 20", class: "spark", "aria-hidden": "true" }, sv("path", { d: pathOf(norms.map((norm, index) => [index * step, 17 - 16 * norm / largest])), fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));
}

const list = { query: "", by: "" };

function listed() {
  const wanted = list.query.toLowerCase();
  const rows = report.index.filter((entry) => `${entry.latent} ${entry.class} ${entry.text}`.toLowerCase().includes(wanted)).map((entry) => entry.latent);
  if (!list.by) return rows;
  const value = (id) => { const fact = openCard(id).facts.find((each) => `${each.analysis}.${each.name}` === list.by); return fact && typeof fact.value === "number" ? fact.value : -Infinity; };
  return rows.sort((a, b) => value(b) - value(a));
}

function drawList() {
  const entries = new Map(report.index.map((entry) => [entry.latent, entry]));
  at("list").replaceChildren(...listed().map((id) => entries.get(id)).map((entry) => el("li", {},
    el("a", { href: `#latent-${entry.latent}`, "aria-current": shown.latent === entry.latent ? "true" : null },
      el("span", { class: "dot", style: { background: entry.class ? colourOfClass(entry.class) : "transparent" }, title: entry.class }),
      el("b", {}, String(entry.latent)), spark(entry.norm), el("bdi", { class: "first" }, entry.text)))));
  if (!at("list").childElementCount) at("list").append(el("li", { class: "empty" }, "none fits"));
}

function drawLatents() {
  if (!ids.length) return at("latents").append(el("p", { class: "empty" }, "No result here has a table of latents: put analyses such as ", el("code", {}, "[analyses.statistics]"), " into the recipe and run ", el("code", {}, "ontogeny analyze"), "."));
  const names = [...new Set(ids.slice(0, 3).flatMap((id) => openCard(id).facts.filter((fact) => typeof fact.value === "number").map((fact) => `${fact.analysis}.${fact.name}`)))];
  at("latents").append(
    el("aside", {},
      el("input", { type: "search", id: "search", placeholder: "search: number, class, text", "aria-label": "Search the latents", oninput: (event) => { list.query = event.target.value; drawList(); } }),
      el("select", { "aria-label": "Order of the latents", onchange: (event) => { list.by = event.target.value; drawList(); } }, el("option", { value: "" }, "in the order asked for"), names.map((name) => el("option", { value: name }, `by ${words(name).replace(".", ": ")}`))),
      el("ol", { id: "list" })),
    el("div", { id: "card" }));
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

function forgetRemovedCharts() {
  for (const chart of chartState.redraw) if (!chart.box.isConnected) chartState.redraw.delete(chart);
}

function drawSummaries() {
  const drawable = (picture) => picture.kind !== "tokens" && picture.kind !== "table" && !isEmpty(picture);
  at("summaries").append(...report.results.filter((result) => result.summary.length || result.pictures.some(drawable)).map((result) => el("section", { class: "summary" },
    el("h2", {}, words(result.kind), " ", el("small", {}, `${result.id} · ${result.made}`)),
    result.summary.filter(([, text]) => Array.isArray(text)).map(([name, texts]) => el("ul", { title: words(name), class: texts.some((text) => text.length > 30) ? "said" : "said short" }, texts.map((text) => el("li", {}, el("bdi", {}, text))))),
    el("dl", {}, result.summary.filter(([, text]) => !Array.isArray(text)).map(([name, text]) => el("div", {}, el("dt", {}, words(name).replaceAll(".", " · ")), el("dd", {}, el("bdi", {}, text))))),
    el("div", { class: "grid few" }, result.pictures.filter(drawable).slice(0, 3).map((picture) => pictureOf(picture, { width: 420, height: 250 }))))));
  const asked = Object.entries(report.missing).map(([part, analysis]) => `${analysis} (${words(part)})`);
  if (asked.length) at("summaries").append(el("p", { class: "empty" }, `Not made yet: ${asked.join(", ")}. Add them under [analyses] and run `, el("code", {}, "ontogeny analyze"), "; then write this report again."));
}

function drawPictures() {
  at("pictures").append(...report.results.filter((result) => result.pictures.length).map((result) => el("section", {}, el("h2", {}, words(result.kind)), el("div", { class: "grid" }, result.pictures.map((picture) => {
    const wide = picture.kind === "tokens" || picture.kind === "table";
    const box = pictureOf(picture, { width: 520, height: picture.kind === "heatmap" ? 400 : 300 });
    box.classList.toggle("wide", wide);
    return box;
  })))));
}

function drawTables() {
  at("tables").append(...report.results.filter((result) => result.tables.length).map((result) => el("section", {}, el("h2", {}, words(result.kind)), result.tables.map((table, index) => {
    const box = el("details", { open: index === 0 }, el("summary", {}, words(table.name), " ", el("small", {}, table.note)));
    const unfold = () => { if (box.open && box.childElementCount === 1) box.append(sortableTable(table.columns, table.rows, null)); };
    box.addEventListener("toggle", unfold);
    unfold();
    return box;
  }))));
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
}

function toggleTime() {
  chartState.logTime = !chartState.logTime;
  at("time").textContent = chartState.logTime ? "log time" : "linear time";
  forgetRemovedCharts();
  for (const chart of [...chartState.redraw]) chart.draw();
}

function step(order, current, by) {
  const index = order.indexOf(current);
  return order[Math.min(Math.max(index + by, 0), order.length - 1)];
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(input|select|textarea)$/i.test(event.target.tagName)) { if (event.key === "Escape") event.target.blur(); return; }
  const onLatents = !at("latents").hidden && ids.length;
  const turn = (by) => { shown.source = step([null, ...report.sources], shown.source, by); showLatent(shown.latent); };
  const keys = {
    t: toggleTheme, l: toggleTime, "?": () => at("help").showModal(),
    "/": () => { location.hash = "#latents"; showTab("latents"); if (at("search")) at("search").focus(); },
    j: () => onLatents && showLatent(step(listed(), shown.latent, 1)), k: () => onLatents && showLatent(step(listed(), shown.latent, -1)),
    ArrowRight: () => onLatents && turn(1), ArrowLeft: () => onLatents && turn(-1),
  };
  const tab = TABS[Number(event.key) - 1];
  if (tab) return showTab(tab[0]);
  if (keys[event.key]) { keys[event.key](); if (event.key === "/" || event.key.startsWith("Arrow")) event.preventDefault(); }
}

function follow() {
  const latent = /^#latent-(\d+)$/.exec(location.hash);
  if (latent && ids.includes(Number(latent[1]))) { showTab("latents"); if (shown.latent !== Number(latent[1])) showLatent(Number(latent[1])); return; }
  const tab = TABS.find(([id]) => `#${id}` === location.hash);
  showTab(tab ? tab[0] : "overview");
}

at("tabs").append(...TABS.map(([id, label]) => el("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": id, onclick: () => { history.replaceState(null, "", `#${id}`); showTab(id); } }, label)));
at("tools").append(
  el("button", { type: "button", id: "time", title: "time axes (l)", onclick: toggleTime }, "log time"),
  el("button", { type: "button", title: "light or dark (t)", "aria-label": "light or dark", onclick: toggleTheme }, "◐"),
  el("button", { type: "button", title: "keys (?)", "aria-label": "keys", onclick: () => at("help").showModal() }, "?"));
at("help").append(el("h2", {}, "Keys"), el("dl", {}, KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)))), el("form", { method: "dialog" }, el("button", {}, "close")));
drawSummaries();
drawLatents();
addEventListener("keydown", pressed);
addEventListener("hashchange", follow);
follow();
