// Charts: the pictures that `pictures.py` lays out, drawn as SVG. A chart is redrawn when its time axis changes.

const MANY = 12; // curves beyond this have no legend and no markers

function drawCurves(picture, size) {
  const all = (key) => picture.curves.flatMap((curve) => curve[key] || []);
  const many = picture.curves.length > MANY;
  const ys = many ? all("y") : [...all("y"), ...all("low"), ...all("high")];
  const plane = frame(picture, size, all("x"), picture.kind === "histogram" ? [0, ...ys] : ys);
  const draw = { line: drawLine, scatter: drawPoints, histogram: drawBins }[picture.kind];
  const points = [];
  const groups = picture.curves.map((curve, index) => {
    const alike = many && picture.kind === "line" && !picture.ordered;
    const colour = picture.colours[alike ? 0 : index];
    points.push(...(picture.kind === "histogram" ? binsOf : pointsOf)(picture, curve, plane));
    return sv("g", { class: many ? "curve many" : "curve" }, draw(curve, colour, plane, many));
  });
  return { nodes: [plane.axes, ...groups], points, groups };
}

// Places of a curve on the plane, and what the tip says there.
function pointsOf(picture, curve, { X, Y }) {
  const known = (key, i) => curve[key] && curve[key][i] !== null;
  return curve.x.flatMap((x, i) => {
    if (x === null || curve.y[i] === null) return [];
    const name = picture.x.kind === "category" ? picture.x.ticks[x] : `${words(picture.x.label)}: ${format(x)}`;
    const ends = known("low", i) && known("high", i) ? ` [${format(curve.low[i])}, ${format(curve.high[i])}]` : "";
    const value = `${words(picture.y.label) || "value"}: ${format(curve.y[i])}${ends}`;
    return [{ x: X(x), y: Y(curve.y[i]), curve, text: [name, value] }];
  });
}

function binsOf(picture, curve, { X, Y }) {
  return curve.y.map((y, i) => ({
    x: (X(curve.x[i]) + X(curve.x[i + 1])) / 2,
    y: Y(y),
    curve,
    text: [`${format(curve.x[i])} to ${format(curve.x[i + 1])}`, `${picture.y.label}: ${format(y)}`],
  }));
}

function endsOf(curve, { X, Y }) {
  const known = (i) => curve.x[i] !== null && curve.low && curve.low[i] !== null && curve.high[i] !== null;
  return curve.x.flatMap((x, i) => (known(i) ? [{ x: X(x), low: Y(curve.low[i]), high: Y(curve.high[i]) }] : []));
}

function drawLine(curve, colour, plane, many) {
  const { X, Y } = plane;
  const ends = many ? [] : endsOf(curve, plane);
  const rim = [...ends.map((end) => [end.x, end.high]), ...[...ends].reverse().map((end) => [end.x, end.low])];
  const places = curve.x.map((x, i) => [x === null ? null : X(x), curve.y[i] === null ? null : Y(curve.y[i])]);
  const pen = { stroke: colour, fill: "none", "stroke-linejoin": "round" };
  return [
    ends.length > 1 ? sv("path", { d: `${pathOf(rim)}Z`, fill: colour, "fill-opacity": 0.16 }) : null,
    sv("path", { d: pathOf(places), ...pen, "stroke-width": many ? 1 : 1.9, "stroke-opacity": many ? 0.55 : 1 }),
    many ? null : drawDots(places, colour, 2.6, 1),
  ];
}

function drawPoints(curve, colour, plane) {
  const { X, Y } = plane;
  const places = curve.x.map((x, i) => [x === null ? null : X(x), curve.y[i] === null ? null : Y(curve.y[i])]);
  const bar = { stroke: colour, "stroke-opacity": 0.45 };
  return [
    endsOf(curve, plane).map((end) => sv("line", { x1: end.x, x2: end.x, y1: end.low, y2: end.high, ...bar })),
    drawDots(places, colour, places.length > 200 ? 2 : 3.4, places.length > 60 ? 0.5 : 1),
  ];
}

function drawDots(places, colour, radius, opacity) {
  const known = places.filter(([x, y]) => x !== null && y !== null);
  return known.map(([x, y]) =>
    sv("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: radius, fill: colour, "fill-opacity": opacity }),
  );
}

function drawBins(curve, colour, { X, Y, base }, many) {
  const steps = curve.y.flatMap((y, i) => [X(curve.x[i]), X(curve.x[i + 1])].map((x) => [x, Y(y)]));
  if (!steps.length) return [];
  const outline = [[steps[0][0], base], ...steps, [steps[steps.length - 1][0], base]];
  const fill = { fill: colour, "fill-opacity": many ? 0.03 : 0.14 };
  return [sv("path", { d: pathOf(outline), stroke: colour, "stroke-width": 1.3, ...fill })];
}

function drawCells(picture, size) {
  const rows = picture.cells || [],
    names = picture.x.ticks,
    others = picture.y.ticks;
  const [low, high] = picture.limits,
    signed = low === -high;
  const room = roomOf(picture),
    { X, Y, axes } = frame(picture, size, [], []);
  const wide = Math.abs(X(1) - X(0)) || size.width - room.left - room.right,
    tall = Math.abs(Y(1) - Y(0)) || size.height - room.top - room.bottom;
  const colours = signed ? report.colours.diverging : report.colours.sequential,
    points = [];
  const cells = rows.flatMap((row, j) =>
    row.map((value, i) => {
      if (value === null) return null;
      points.push({
        x: X(i),
        y: Y(j),
        text: [
          `${names[i]} × ${others[j]}`,
          `${picture.curves[0] ? picture.curves[0].label : "value"}: ${format(value)}`,
        ],
      });
      return sv("rect", {
        x: X(i) - wide / 2,
        y: Y(j) - tall / 2,
        width: wide + 0.4,
        height: tall + 0.4,
        fill: blend(colours, (value - low) / (high - low)),
      });
    }),
  );
  const legend = sv(
    "g",
    { class: "axes" },
    [0, 0.25, 0.5, 0.75, 1].map((share, index) =>
      sv(
        "g",
        {},
        sv("rect", {
          x: size.width - 150 + index * 22,
          y: size.height - 12,
          width: 22,
          height: 8,
          fill: blend(colours, share),
        }),
        index % 4 === 0
          ? sv(
              "text",
              { x: size.width - 150 + (index ? 114 : -4), y: size.height - 5, "text-anchor": index ? "start" : "end" },
              shortNumber(low + share * (high - low)),
            )
          : null,
      ),
    ),
  );
  return { nodes: [axes, ...cells.filter(Boolean), legend], points, groups: [] };
}

function drawLines(picture) {
  return el(
    "div",
    { class: "lines" },
    picture.lines.map((line) => {
      const largest = Math.max(...line.strengths.map((each) => Math.abs(each || 0)), 1e-12);
      return el(
        "p",
        {},
        el("small", {}, line.label, " "),
        line.tokens.map((token, index) =>
          el(
            "span",
            {
              class: "token",
              style:
                line.tokens.length > 1 ? { "--share": String(Math.abs(line.strengths[index] || 0) / largest) } : {},
            },
            token,
          ),
        ),
      );
    }),
  );
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
    const title = picture.title ? el("h3", {}, picture.title) : null;
    const notes = picture.notes.length ? el("figcaption", {}, picture.notes.join("; ")) : null;
    box.replaceChildren(...[title, ...bodyOf(picture, size), notes].filter(Boolean));
  };
  draw();
  if (picture.x && picture.x.kind === "time") chartState.redraw.add({ box, draw });
  return box;
}

function bodyOf(picture, size) {
  if (isEmpty(picture)) return [el("p", { class: "empty" }, "Nothing to draw: the table has no values for it.")];
  if (picture.kind === "tokens") return [drawLines(picture)];
  if (picture.kind === "table") return [sortableTable(picture.columns, picture.rows, null)];
  const drawn = picture.kind === "heatmap" ? drawCells(picture, size) : drawCurves(picture, size);
  const mark = sv("circle", { class: "mark", r: 5, visibility: "hidden" });
  const name = picture.title || picture.y.label;
  const frame = { viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": name };
  const svg = sv("svg", frame, drawn.nodes, mark);
  followPointer(svg, mark, drawn, picture);
  return [svg, legendOf(picture, drawn.groups)];
}

// The point nearest to the pointer is marked and says its numbers; among many curves the others fade.
function followPointer(svg, mark, drawn, picture) {
  const faint = (test) => drawn.groups.forEach((group, index) => group.classList.toggle("faint", test(index)));
  svg.addEventListener("pointermove", (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const away = (point) => (point.x - place.x) ** 2 + (point.y - place.y) ** 2;
    const best = drawn.points.reduce((a, b) => (a === null || away(b) < away(a) ? b : a), null);
    if (best === null || away(best) > 900) return tip.hide();
    if (picture.kind !== "heatmap") mark.setAttribute("visibility", "visible");
    if (picture.curves.length > MANY) faint((index) => picture.curves[index] !== best.curve);
    mark.setAttribute("cx", best.x);
    mark.setAttribute("cy", best.y);
    tip.show(
      [...(best.curve && best.curve.label ? [best.curve.label] : []), ...best.text],
      event.clientX,
      event.clientY,
    );
  });
  svg.addEventListener("pointerleave", () => {
    tip.hide();
    faint(() => false);
    mark.setAttribute("visibility", "hidden");
  });
}

function legendOf(picture, groups) {
  const named = picture.curves.some((curve) => curve.label);
  if (picture.kind === "heatmap" || !named || picture.curves.length > MANY) return null;
  const faint = (test) => groups.forEach((group, index) => group.classList.toggle("faint", test(index)));
  const entries = picture.curves.map((curve, index) => {
    const listen = {
      onpointerenter: () => faint((other) => other !== index),
      onpointerleave: () => faint(() => false),
    };
    return el("li", listen, el("i", { style: { background: picture.colours[index] } }), words(curve.label));
  });
  return el("ul", { class: "legend" }, entries);
}
