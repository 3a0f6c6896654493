// Charts: the pictures that `pictures.py` lays out, drawn as SVG. A chart is redrawn when its time axis changes.

const chartState = { logTime: true, redraw: new Set() };
const ROOM = { left: 58, right: 14, top: 10, bottom: 44 };
const roomOf = (picture) => (picture.kind === "heatmap" ? { ...ROOM, bottom: 62 } : ROOM);

function niceTicks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  return ticks;
}

// A scale: value to place in [0, 1], and ticks. Time runs by log(1 + t), so that step 0 has a place.
function makeScale(axis, values, pad) {
  const finite = values.filter((value) => value !== null && Number.isFinite(value));
  if (axis.kind === "category") {
    const count = Math.max(axis.ticks.length, 1), every = Math.ceil(count / 12);
    const ticks = axis.ticks.map((label, index) => ({ value: index, label })).filter((_, index) => index % every === 0);
    return { place: (value) => (value + 0.5) / count, ticks };
  }
  const log = axis.kind === "log", time = axis.kind === "time" && chartState.logTime;
  const to = log ? Math.log10 : time ? (value) => Math.log10(1 + value) : (value) => value;
  const kept = log ? finite.filter((value) => value > 0) : finite;
  let low = kept.length ? Math.min(...kept.map(to)) : 0, high = kept.length ? Math.max(...kept.map(to)) : 1;
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  if (pad) { const margin = (high - low) * 0.05; [low, high] = [low - (low === 0 ? 0 : margin), high + margin]; }
  const place = (value) => (to(value) - low) / (high - low);
  let ticks;
  if (log || time) {
    ticks = time ? [0] : [];
    const between = high - low < 1.5 ? [1, 2, 5] : [1], every = Math.max(1, Math.ceil((high - low) / 6));
    for (let power = Math.max(Math.floor(low), -12); power <= high + 1e-9; power += every) ticks.push(...between.map((each) => each * 10 ** power));
    ticks = ticks.filter((tick) => place(tick) >= -1e-9 && place(tick) <= 1 + 1e-9);
    if (ticks.length < 2) ticks = [...new Set([...kept].sort((a, b) => a - b).filter((_, index, all) => index === 0 || index === all.length - 1))];
  } else {
    ticks = niceTicks(low, high, 5);
    const digits = ticks.length > 1 ? Math.max(0, -Math.floor(Math.log10(ticks[1] - ticks[0]) + 1e-9)) : 0;
    if (high < 1000 && digits < 5) return { place, ticks: ticks.map((value) => ({ value, label: value.toFixed(digits) })) };
  }
  return { place, ticks: ticks.map((value) => ({ value, label: shortNumber(value) })) };
}

function shortNumber(value) {
  const size = Math.abs(value);
  for (const [unit, name] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (size >= unit) return `${Number((value / unit).toPrecision(3))}${name}`;
  return size && size < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

function frame(picture, size, xs, ys) {
  const room = roomOf(picture);
  const scaleX = makeScale(picture.x, xs, false), scaleY = makeScale(picture.y, ys, picture.kind !== "histogram");
  const wide = size.width - room.left - room.right, tall = size.height - room.top - room.bottom;
  const X = (value) => room.left + scaleX.place(value) * wide, Y = (value) => room.top + (1 - scaleY.place(value)) * tall;
  const slanted = picture.x.kind === "category" && scaleX.ticks.reduce((sum, tick) => sum + tick.label.length, 0) * 7.4 > wide;
  const axes = sv("g", { class: "axes" },
    scaleY.ticks.map((tick) => sv("g", {},
      sv("line", { class: "grid", x1: room.left, x2: size.width - room.right, y1: Y(tick.value), y2: Y(tick.value) }),
      sv("text", { x: room.left - 7, y: Y(tick.value) + 3.5, "text-anchor": "end" }, tick.label))),
    scaleX.ticks.map((tick) => sv("text", slanted
      ? { x: 0, y: 0, "text-anchor": "end", transform: `translate(${X(tick.value) + 4} ${size.height - room.bottom + 13}) rotate(-28)` }
      : { x: X(tick.value), y: size.height - room.bottom + 15, "text-anchor": "middle" }, tick.label.length > 14 ? `${tick.label.slice(0, 13)}…` : tick.label)),
    sv("line", { class: "axis", x1: room.left, x2: size.width - room.right, y1: size.height - room.bottom, y2: size.height - room.bottom }),
    slanted ? null : sv("text", { class: "label", x: room.left + wide / 2, y: size.height - 8, "text-anchor": "middle" }, words(picture.x.label)),
    sv("text", { class: "label", transform: `translate(12 ${room.top + tall / 2}) rotate(-90)`, "text-anchor": "middle" }, words(picture.y.label)));
  return { X, Y, axes, base: size.height - room.bottom };
}

function pathOf(points) {
  let path = "", open = false;
  for (const [x, y] of points) {
    if (x === null || y === null || !Number.isFinite(y)) { open = false; continue; }
    path += `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    open = true;
  }
  return path;
}

function drawCurves(picture, size) {
  const all = (key) => picture.curves.flatMap((curve) => curve[key] || []);
  const ys = picture.curves.length > 12 ? all("y") : [...all("y"), ...all("low"), ...all("high")];
  const { X, Y, axes, base } = frame(picture, size, all("x"), picture.kind === "histogram" ? [0, ...ys] : ys);
  const many = picture.curves.length > 12, points = [];
  const groups = picture.curves.map((curve, index) => {
    const colour = many && picture.kind === "line" && !picture.ordered ? picture.colours[0] : picture.colours[index], group = sv("g", { class: many ? "curve many" : "curve" });
    const place = (key, i) => curve[key] && curve[key][i] !== null ? Y(curve[key][i]) : null;
    if (picture.kind === "histogram") {
      const steps = curve.y.flatMap((y, i) => [[X(curve.x[i]), Y(y)], [X(curve.x[i + 1]), Y(y)]]);
      const outline = steps.length ? [[steps[0][0], base], ...steps, [steps[steps.length - 1][0], base]] : [];
      group.append(sv("path", { d: pathOf(outline), stroke: colour, fill: colour, "fill-opacity": many ? 0.03 : 0.14, "stroke-width": 1.3 }));
      curve.y.forEach((y, i) => points.push({ x: (X(curve.x[i]) + X(curve.x[i + 1])) / 2, y: Y(y), colour, curve, text: [`${format(curve.x[i])} to ${format(curve.x[i + 1])}`, `${picture.y.label}: ${format(y)}`] }));
      return group;
    }
    const ends = curve.x.map((x, i) => ({ x: x === null ? null : X(x), low: place("low", i), high: place("high", i) })).filter((end) => end.x !== null && end.low !== null && end.high !== null);
    if (picture.kind === "line") {
      if (ends.length > 1 && !many) group.append(sv("path", { d: `${pathOf([...ends.map((end) => [end.x, end.high]), ...[...ends].reverse().map((end) => [end.x, end.low])])}Z`, fill: colour, "fill-opacity": 0.16 }));
      group.append(sv("path", { d: pathOf(curve.x.map((x, i) => [x === null ? null : X(x), place("y", i)])), stroke: colour, fill: "none", "stroke-width": many ? 1 : 1.9, "stroke-opacity": many ? 0.55 : 1, "stroke-linejoin": "round" }));
    } else for (const end of ends) group.append(sv("line", { x1: end.x, x2: end.x, y1: end.low, y2: end.high, stroke: colour, "stroke-opacity": 0.45 }));
    const radius = picture.kind === "scatter" ? (curve.x.length > 200 ? 2 : 3.4) : 2.6;
    curve.x.forEach((x, i) => {
      const y = place("y", i);
      if (x === null || y === null) return;
      if (!many || picture.kind === "scatter") group.append(sv("circle", { cx: X(x).toFixed(1), cy: y.toFixed(1), r: radius, fill: colour, "fill-opacity": picture.kind === "scatter" && curve.x.length > 60 ? 0.5 : 1 }));
      const name = picture.x.kind === "category" ? picture.x.ticks[x] : `${words(picture.x.label)}: ${format(x)}`;
      const interval = curve.low && curve.low[i] !== null && curve.high[i] !== null ? ` [${format(curve.low[i])}, ${format(curve.high[i])}]` : "";
      points.push({ x: X(x), y, colour, curve, text: [name, `${words(picture.y.label) || "value"}: ${format(curve.y[i])}${interval}`] });
    });
    return group;
  });
  return { nodes: [axes, ...groups], points, groups };
}

function drawCells(picture, size) {
  const rows = picture.cells || [], names = picture.x.ticks, others = picture.y.ticks;
  const [low, high] = picture.limits, signed = low === -high;
  const room = roomOf(picture), { X, Y, axes } = frame(picture, size, [], []);
  const wide = Math.abs(X(1) - X(0)) || size.width - room.left - room.right, tall = Math.abs(Y(1) - Y(0)) || size.height - room.top - room.bottom;
  const colours = signed ? report.colours.diverging : report.colours.sequential, points = [];
  const cells = rows.flatMap((row, j) => row.map((value, i) => {
    if (value === null) return null;
    points.push({ x: X(i), y: Y(j), text: [`${names[i]} × ${others[j]}`, `${picture.curves[0] ? picture.curves[0].label : "value"}: ${format(value)}`] });
    return sv("rect", { x: X(i) - wide / 2, y: Y(j) - tall / 2, width: wide + 0.4, height: tall + 0.4, fill: blend(colours, (value - low) / (high - low)) });
  }));
  const legend = sv("g", { class: "axes" }, [0, 0.25, 0.5, 0.75, 1].map((share, index) => sv("g", {},
    sv("rect", { x: size.width - 150 + index * 22, y: size.height - 12, width: 22, height: 8, fill: blend(colours, share) }),
    index % 4 === 0 ? sv("text", { x: size.width - 150 + (index ? 114 : -4), y: size.height - 5, "text-anchor": index ? "start" : "end" }, shortNumber(low + share * (high - low))) : null)));
  return { nodes: [axes, ...cells.filter(Boolean), legend], points, groups: [] };
}

function drawLines(picture) {
  return el("div", { class: "lines" }, picture.lines.map((line) => {
    const largest = Math.max(...line.strengths.map((each) => Math.abs(each || 0)), 1e-12);
    return el("p", {}, el("small", {}, line.label, " "), line.tokens.map((token, index) => el("span", {
      class: "token", style: line.tokens.length > 1 ? { "--share": String(Math.abs(line.strengths[index] || 0) / largest) } : {} }, token)));
  }));
}

function isEmpty(picture) {
  if (picture.kind === "tokens") return !picture.lines.length;
  if (picture.kind === "table") return !picture.rows.length;
  if (picture.kind === "heatmap") return !(picture.cells || []).flat().some((value) => value !== null);
  return !picture.curves.some((curve) => curve.y.some((value) => value !== null));
}

// A picture with its title, legend, tip under the pointer, and notes.
function pictureOf(picture, size) {
  const box = el("figure", { class: "picture" });
  const draw = () => {
    const head = [picture.title ? el("h3", {}, picture.title) : null];
    const notes = picture.notes && picture.notes.length ? el("figcaption", {}, picture.notes.join("; ")) : null;
    if (isEmpty(picture)) return box.replaceChildren(...head.filter(Boolean), el("p", { class: "empty" }, "Nothing to draw: the table has no values for it."));
    if (picture.kind === "tokens") return box.replaceChildren(...head.filter(Boolean), drawLines(picture), ...(notes ? [notes] : []));
    if (picture.kind === "table") return box.replaceChildren(...head.filter(Boolean), sortableTable(picture.columns, picture.rows, notes ? picture.notes.join("; ") : null));
    const drawn = picture.kind === "heatmap" ? drawCells(picture, size) : drawCurves(picture, size);
    const mark = sv("circle", { class: "mark", r: 5, visibility: "hidden" });
    const svg = sv("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": picture.title || picture.y.label }, drawn.nodes, mark);
    svg.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null, least = 900;
      for (const point of drawn.points) {
        const away = (point.x - place.x) ** 2 + (point.y - place.y) ** 2;
        if (away < least) [best, least] = [point, away];
      }
      mark.setAttribute("visibility", best && picture.kind !== "heatmap" ? "visible" : "hidden");
      if (!best) return tip.hide();
      if (picture.curves.length > 12) drawn.groups.forEach((group, index) => group.classList.toggle("faint", picture.curves[index] !== best.curve));
      mark.setAttribute("cx", best.x);
      mark.setAttribute("cy", best.y);
      tip.show([...(best.curve && best.curve.label ? [best.curve.label] : []), ...best.text], event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", () => { tip.hide(); drawn.groups.forEach((group) => group.classList.remove("faint")); mark.setAttribute("visibility", "hidden"); });
    const named = picture.curves.filter((curve) => curve.label);
    const legend = picture.kind !== "heatmap" && named.length && picture.curves.length <= 12
      ? el("ul", { class: "legend" }, picture.curves.map((curve, index) => el("li", {
          onpointerenter: () => drawn.groups.forEach((group, other) => group.classList.toggle("faint", other !== index)),
          onpointerleave: () => drawn.groups.forEach((group) => group.classList.remove("faint")) },
          el("i", { style: { background: picture.colours[index] } }), words(curve.label))))
      : null;
    box.replaceChildren(...[...head, svg, legend, notes].filter(Boolean));
  };
  draw();
  if (picture.x && picture.x.kind === "time") chartState.redraw.add({ box, draw });
  return box;
}
