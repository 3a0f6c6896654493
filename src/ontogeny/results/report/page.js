// The page: tabs, the list of latents, keys, light and dark.

const TABS = [
  ["overview", "Overview"],
  ["latents", `Latents ${ids.length}`],
  ["quanta", `Quanta ${quantumIds.length}`],
  ["pictures", "Pictures"],
  ["tables", "Tables"],
].filter(([id]) => (id === "quanta" ? report.quanta : id !== "latents" || ids.length || !report.quanta));
const KEYS = [
  ["j  k", "next, previous latent or quantum"],
  ["←  →", "previous, next snapshot of a latent; previous, next quantum"],
  [`1 – ${TABS.length}`, "the parts of the report"],
  ["/", "search the latents or quanta"],
  ["l", "time: logarithmic or linear"],
  ["t", "light or dark"],
  ["?", "these keys"],
];

function showTab(name) {
  for (const [id] of TABS) {
    at(id).hidden = id !== name;
    at(`tab-${id}`).setAttribute("aria-selected", String(id === name));
  }
  if (name === "latents" && shown.latent === null && ids.length) showLatent(listed()[0] ?? ids[0]);
  if (name === "quanta" && choice.quantum === null) turnQuantum(0);
  if (name === "pictures" && !at("pictures").childElementCount) drawPictures();
  if (name === "tables" && !at("tables").childElementCount) drawTables();
  tip.hide();
}

function forgetRemovedCharts() {
  for (const chart of chartState.redraw) if (!chart.box.isConnected) chartState.redraw.delete(chart);
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
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
  if (/^(input|select|textarea)$/i.test(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const onLatents = !at("latents").hidden && ids.length,
    onQuanta = !at("quanta").hidden;
  const turn = (by) => {
    shown.source = step([null, ...report.sources], shown.source, by);
    showLatent(shown.latent);
  };
  const keys = {
    t: toggleTheme,
    l: toggleTime,
    "?": () => at("help").showModal(),
    "/": () => {
      const [part, field] = onQuanta || !ids.length ? ["quanta", "search-quanta"] : ["latents", "search"];
      if (!at(field)) return;
      if (at(part).hidden) showTab(part);
      at(field).focus();
    },
    j: () => (onQuanta ? turnQuantum(1) : onLatents && showLatent(step(listed(), shown.latent, 1))),
    k: () => (onQuanta ? turnQuantum(-1) : onLatents && showLatent(step(listed(), shown.latent, -1))),
    ArrowRight: () => (onQuanta ? turnQuantum(1) : onLatents && turn(1)),
    ArrowLeft: () => (onQuanta ? turnQuantum(-1) : onLatents && turn(-1)),
  };
  const tab = TABS[Number(event.key) - 1];
  if (tab) return showTab(tab[0]);
  if (keys[event.key]) {
    keys[event.key]();
    if (event.key === "/" || event.key.startsWith("Arrow")) event.preventDefault();
  }
}

function follow() {
  const latent = /^#latent-(\d+)$/.exec(location.hash);
  if (latent && ids.includes(Number(latent[1]))) {
    showTab("latents");
    if (shown.latent !== Number(latent[1])) showLatent(Number(latent[1]));
    return;
  }
  const quantum = /^#quantum-(\d+)$/.exec(location.hash);
  if (quantum && quantumIds.includes(Number(quantum[1]))) {
    if (choice.quantum !== Number(quantum[1])) showQuantum(Number(quantum[1]));
    showTab("quanta");
    return;
  }
  const tab = TABS.find(([id]) => `#${id}` === location.hash);
  showTab(tab ? tab[0] : report.start);
}

at("tabs").append(
  ...TABS.map(([id, label]) =>
    el(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${id}`,
        "aria-controls": id,
        onclick: () => {
          history.replaceState(null, "", `#${id}`);
          showTab(id);
        },
      },
      label,
    ),
  ),
);
at("tools").append(
  el("button", { type: "button", id: "time", title: "time axes (l)", onclick: toggleTime }, "log time"),
  el(
    "button",
    { type: "button", title: "light or dark (t)", "aria-label": "light or dark", onclick: toggleTheme },
    "◐",
  ),
  el("button", { type: "button", title: "keys (?)", "aria-label": "keys", onclick: () => at("help").showModal() }, "?"),
);
at("help").append(
  el("h2", {}, "Keys"),
  el(
    "dl",
    {},
    KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what))),
  ),
  el("form", { method: "dialog" }, el("button", {}, "close")),
);
drawSummaries();
drawLatents();
drawQuanta();
addEventListener("keydown", pressed);
addEventListener("hashchange", follow);
follow();
