// Scales: from values to places on a picture, with the ticks that say so.

const chartState = { logTime: true, redraw: new Set() }; // charts whose time axis can change
const ROOM = { left: 58, right: 14, top: 10, bottom: 44 };
const roomOf = (picture) => (picture.kind === "heatmap" ? { ...ROOM, bottom: 62 } : ROOM);

function niceTicks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step)
    ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  return ticks;
}

// A scale: value to place in [0, 1], and ticks. Time runs by log(1 + t), so that step 0 has a place.
function makeScale(axis, values, pad) {
  const finite = values.filter((value) => value !== null && Number.isFinite(value));
  if (axis.kind === "category") {
    const count = Math.max(axis.ticks.length, 1),
      every = Math.ceil(count / 12);
    const ticks = axis.ticks.map((label, index) => ({ value: index, label })).filter((_, index) => index % every === 0);
    return { place: (value) => (value + 0.5) / count, ticks };
  }
  const log = axis.kind === "log",
    time = axis.kind === "time" && chartState.logTime;
  const to = log ? Math.log10 : time ? (value) => Math.log10(1 + value) : (value) => value;
  const kept = log ? finite.filter((value) => value > 0) : finite;
  let low = kept.length ? Math.min(...kept.map(to)) : 0,
    high = kept.length ? Math.max(...kept.map(to)) : 1;
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  if (pad) {
    const margin = (high - low) * 0.05;
    [low, high] = [low - (low === 0 ? 0 : margin), high + margin];
  }
  const place = (value) => (to(value) - low) / (high - low);
  let ticks;
  if (log || time) {
    ticks = time ? [0] : [];
    const between = high - low < 1.5 ? [1, 2, 5] : [1],
      every = Math.max(1, Math.ceil((high - low) / 6));
    for (let power = Math.max(Math.floor(low), -12); power <= high + 1e-9; power += every)
      ticks.push(...between.map((each) => each * 10 ** power));
    ticks = ticks.filter((tick) => place(tick) >= -1e-9 && place(tick) <= 1 + 1e-9);
    if (ticks.length < 2)
      ticks = [
        ...new Set([...kept].sort((a, b) => a - b).filter((_, index, all) => index === 0 || index === all.length - 1)),
      ];
  } else {
    ticks = niceTicks(low, high, 5);
    const digits = ticks.length > 1 ? Math.max(0, -Math.floor(Math.log10(ticks[1] - ticks[0]) + 1e-9)) : 0;
    if (high < 1000 && digits < 5)
      return { place, ticks: ticks.map((value) => ({ value, label: value.toFixed(digits) })) };
  }
  return { place, ticks: ticks.map((value) => ({ value, label: shortNumber(value) })) };
}

function shortNumber(value) {
  const size = Math.abs(value);
  for (const [unit, name] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ])
    if (size >= unit) return `${Number((value / unit).toPrecision(3))}${name}`;
  return size && size < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

function frame(picture, size, xs, ys) {
  const room = roomOf(picture);
  const scaleX = makeScale(picture.x, xs, false),
    scaleY = makeScale(picture.y, ys, picture.kind !== "histogram");
  const wide = size.width - room.left - room.right,
    tall = size.height - room.top - room.bottom;
  const X = (value) => room.left + scaleX.place(value) * wide,
    Y = (value) => room.top + (1 - scaleY.place(value)) * tall;
  const slanted =
    picture.x.kind === "category" && scaleX.ticks.reduce((sum, tick) => sum + tick.label.length, 0) * 7.4 > wide;
  const axes = sv(
    "g",
    { class: "axes" },
    scaleY.ticks.map((tick) =>
      sv(
        "g",
        {},
        sv("line", { class: "grid", x1: room.left, x2: size.width - room.right, y1: Y(tick.value), y2: Y(tick.value) }),
        sv("text", { x: room.left - 7, y: Y(tick.value) + 3.5, "text-anchor": "end" }, tick.label),
      ),
    ),
    scaleX.ticks.map((tick) =>
      sv(
        "text",
        slanted
          ? {
              x: 0,
              y: 0,
              "text-anchor": "end",
              transform: `translate(${X(tick.value) + 4} ${size.height - room.bottom + 13}) rotate(-28)`,
            }
          : { x: X(tick.value), y: size.height - room.bottom + 15, "text-anchor": "middle" },
        tick.label.length > 14 ? `${tick.label.slice(0, 13)}…` : tick.label,
      ),
    ),
    sv("line", {
      class: "axis",
      x1: room.left,
      x2: size.width - room.right,
      y1: size.height - room.bottom,
      y2: size.height - room.bottom,
    }),
    slanted
      ? null
      : sv(
          "text",
          { class: "label", x: room.left + wide / 2, y: size.height - 8, "text-anchor": "middle" },
          words(picture.x.label),
        ),
    sv(
      "text",
      { class: "label", transform: `translate(12 ${room.top + tall / 2}) rotate(-90)`, "text-anchor": "middle" },
      words(picture.y.label),
    ),
  );
  return { X, Y, axes, base: size.height - room.bottom };
}

function pathOf(points) {
  let path = "",
    open = false;
  for (const [x, y] of points) {
    if (x === null || y === null || !Number.isFinite(y)) {
      open = false;
      continue;
    }
    path += `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    open = true;
  }
  return path;
}
