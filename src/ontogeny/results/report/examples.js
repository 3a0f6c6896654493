// Examples: windows of text, coloured by the code, or by what one snapshot contributes and sees.

function unpack(text, signed) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return signed ? new Int8Array(bytes.buffer) : bytes;
}

// Per token: the code, and for the chosen source whether it is on there, what it contributes and its own evidence.
function strengthsOf(card, example) {
  const count = example.tokens.length,
    source = report.sources.indexOf(shown.source);
  if (source < 0 || !example.evidence)
    return example.tokens.map((_, i) => ({ code: example.values[i], strength: example.values[i] }));
  const gate = unpack(example.gate, false),
    evidence = unpack(example.evidence, true);
  const norm = card.trajectory && card.trajectory.norm[source] !== null ? card.trajectory.norm[source] : 1;
  return example.tokens.map((_, i) => {
    const place = source * count + i,
      on = (gate[place >> 3] >> (7 - (place & 7))) & 1;
    return {
      code: example.values[i],
      on: Boolean(on),
      strength: on ? example.values[i] * norm : 0,
      evidence: evidence[place] * example.unit,
    };
  });
}

function largestOf(card) {
  const norms = card.trajectory ? card.trajectory.norm.map((norm) => norm || 0) : [1];
  const code = Math.max(...card.examples.flatMap((example) => example.values), 1e-9);
  const evidence = Math.max(...card.examples.map((example) => (example.unit || 0) * 127), 1e-9);
  return { code, contribution: code * Math.max(...norms, 1e-9), evidence };
}

function textOf(card, example, largest) {
  const strengths = strengthsOf(card, example),
    single = strengths.some((each) => each.evidence !== undefined);
  const line = el(
    "p",
    { class: "window" },
    strengths.map((each, i) => {
      const share = Math.min(each.strength / (single ? largest.contribution : largest.code), 1);
      const own = single ? Math.max(-1, Math.min(each.evidence / largest.evidence, 1)) : 0;
      return el(
        "span",
        {
          class: `token${i === example.at ? " marked" : ""}`,
          "data-token": i,
          style: {
            "--share": share.toFixed(3),
            "--own": Math.abs(own).toFixed(3),
            "--owncolour": own < 0 ? "var(--against)" : "var(--for)",
          },
        },
        example.tokens[i],
      );
    }),
  );
  line.addEventListener("pointermove", (event) => {
    const index = event.target.dataset ? event.target.dataset.token : undefined;
    if (index === undefined) return tip.hide();
    const each = strengths[Number(index)];
    const lines = [`code ${format(each.code)}`];
    if (single)
      lines.push(
        `${shown.source}: ${each.on ? "on" : "off"}, contribution ${format(Number(each.strength.toPrecision(3)))}`,
        `own evidence ${format(Number(each.evidence.toPrecision(2)))}`,
      );
    tip.show(lines, event.clientX, event.clientY);
  });
  line.addEventListener("pointerleave", () => tip.hide());
  return line;
}

const KINDS = { top: "strongest", bin: "quantile bin", level: "level of the largest", control: "controls: not active" };

function exampleGroups(card) {
  const groups = new Map();
  for (const example of card.examples) {
    const name = (KINDS[example.kind] || example.kind) + (example.bin === null ? "" : ` ${example.bin + 1}`);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(example);
  }
  return groups;
}

function examplesOf(card) {
  if (!card.examples.length) return lack("examples", "examples");
  const largest = largestOf(card);
  return el(
    "div",
    { class: "examples" },
    [...exampleGroups(card)].map(([name, examples], index) => {
      const values = examples.map((example) => example.value).filter((value) => value !== null);
      const range =
        values.length && Math.max(...values) > 0
          ? `${format(Math.min(...values))} to ${format(Math.max(...values))}`
          : "";
      return el(
        "details",
        { open: index < 4 },
        el("summary", {}, name, " ", el("small", {}, range)),
        examples.map((example) =>
          el(
            "div",
            { class: "example" },
            el(
              "small",
              { title: `document ${example.document}, row ${example.row}, position ${example.position}` },
              example.value === null ? "" : format(Number(example.value.toPrecision(3))),
            ),
            textOf(card, example, largest),
          ),
        ),
      );
    }),
  );
}
