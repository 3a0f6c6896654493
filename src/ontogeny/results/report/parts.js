// The other parts of the report: an overview of every result, all pictures, all tables.

function drawSummaries() {
  const drawable = (picture) => picture.kind !== "tokens" && picture.kind !== "table" && !isEmpty(picture);
  at("summaries").append(
    ...report.results
      .filter((result) => result.summary.length || result.pictures.some(drawable))
      .map((result) =>
        el(
          "section",
          { class: "summary" },
          el("h2", {}, words(result.kind), " ", el("small", {}, `${result.id} · ${result.made}`)),
          result.summary
            .filter(([, text]) => Array.isArray(text))
            .map(([name, texts]) =>
              el(
                "ul",
                { title: words(name), class: texts.some((text) => text.length > 30) ? "said" : "said short" },
                texts.map((text) => el("li", {}, el("bdi", {}, text))),
              ),
            ),
          el(
            "dl",
            {},
            result.summary
              .filter(([, text]) => !Array.isArray(text))
              .map(([name, text]) =>
                el("div", {}, el("dt", {}, words(name).replaceAll(".", " · ")), el("dd", {}, el("bdi", {}, text))),
              ),
          ),
          el(
            "div",
            { class: "grid few" },
            result.pictures
              .filter(drawable)
              .slice(0, 3)
              .map((picture) => pictureOf(picture, { width: 420, height: 250 })),
          ),
        ),
      ),
  );
  const asked = Object.entries(report.missing).map(([part, analysis]) => `${analysis} (${words(part)})`);
  if (asked.length)
    at("summaries").append(
      el(
        "p",
        { class: "empty" },
        `Not made yet: ${asked.join(", ")}. Add them under [analyses] and run `,
        el("code", {}, "ontogeny analyze"),
        "; then write this report again.",
      ),
    );
}

function drawPictures() {
  at("pictures").append(
    ...report.results
      .filter((result) => result.pictures.length)
      .map((result) =>
        el(
          "section",
          {},
          el("h2", {}, words(result.kind)),
          el(
            "div",
            { class: "grid" },
            result.pictures.map((picture) => {
              const wide = picture.kind === "tokens" || picture.kind === "table";
              const box = pictureOf(picture, { width: 520, height: picture.kind === "heatmap" ? 400 : 300 });
              box.classList.toggle("wide", wide);
              return box;
            }),
          ),
        ),
      ),
  );
}

function drawTables() {
  at("tables").append(
    ...report.results
      .filter((result) => result.tables.length)
      .map((result) =>
        el(
          "section",
          {},
          el("h2", {}, words(result.kind)),
          result.tables.map((table, index) => {
            const box = el(
              "details",
              { open: index === 0 },
              el("summary", {}, words(table.name), " ", el("small", {}, table.note)),
            );
            const unfold = () => {
              if (box.open && box.childElementCount === 1) box.append(sortableTable(table.columns, table.rows, null));
            };
            box.addEventListener("toggle", unfold);
            unfold();
            return box;
          }),
        ),
      ),
  );
}
