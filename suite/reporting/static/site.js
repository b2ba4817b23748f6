// Tables that sort and filter, charts that redraw. Without it the tables are all there.
"use strict";
(function () {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- tables ---------------------------------------------------------------------------------------------------------

  /** What a cell is sorted by: a number, a word, or null where it has no value. */
  function sortKey(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim().toLowerCase();
    if (text === "") return null;
    return cell.dataset.value === undefined ? text : Number(text);
  }

  function sortBy(table, header, direction) {
    const column = header.cellIndex, body = table.tBodies[0], sign = direction === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => [sortKey(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // no value: last, either way
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en"));
    });
    body.append(...keyed.map(([, row]) => row));
    all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", direction);
  }

  function makeSortable(table) {
    for (const header of all("thead th:not([data-fixed])", table)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      const first = header.dataset.first ?? (header.classList.contains("left") ? "ascending" : "descending");
      const other = first === "ascending" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        sortBy(table, header, header.getAttribute("aria-sort") === first ? other : first);
      });
    }
  }

  function makeFilter(form) {
    const rows = all("tbody tr", document.getElementById(form.dataset.table));
    const apply = () => {
      const { text, family, kind } = form.elements;
      const sought = text.value.trim().toLowerCase();
      for (const row of rows) {
        const found = row.dataset.text.toLowerCase().includes(sought);
        row.hidden = !found || !["", row.dataset.family].includes(family.value) || !["", row.dataset.kind].includes(kind.value);
      }
      form.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  // --- charts ---------------------------------------------------------------------------------------------------------

  const embedded = document.getElementById("data");
  const data = embedded ? JSON.parse(embedded.textContent) : null;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  /** The chart with every word that stands alone replaced by what was chosen for it; as `fill` in specs.py. */
  function fill(part, words) {
    if (Array.isArray(part)) return part.map((each) => fill(each, words));
    if (part && typeof part === "object") {
      return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, key === "description" ? told(value, words) : fill(value, words)]));
    }
    return typeof part === "string" ? Object.hasOwn(words, part) ? words[part] : part : part;
  }

  /** A sentence with the titles of what was chosen in it. */
  const told = (sentence, words) => sentence.replace(/@\w+ title/g, (word) => Object.hasOwn(words, word) ? words[word] : word);

  function chosen(section) {
    const words = {};
    for (const select of all("select[name]", section)) {
      const option = select.selectedOptions[0], name = `@${select.name}`;
      words[name] = option.value;
      words[`${name} title`] = option.textContent;
      words[`${name} scale`] = "log" in option.dataset ? "log" : "linear";
    }
    return words;
  }

  /** Whether a row is among those that the section's choices leave. */
  function keeper(section) {
    const tests = all("[data-filter]", section).map((choice) => {
      const field = choice.dataset.filter;
      if (choice.tagName === "FIELDSET") {
        const values = new Set(all("input:checked", choice).map((box) => box.value));
        return (row) => !(field in row) || values.has(row[field]);
      }
      if (field !== "show") return (row) => !(field in row) || String(row[field]) === choice.value;
      const family = choice.value.startsWith("group ") ? choice.value.slice(6) : null;
      return (row) => !("group" in row) || choice.value === "all" || (family === null ? row.lead : row.group === family);
    });
    return (row) => tests.every((test) => test(row));
  }

  function matrixRows(keep) {
    const { keys, rows } = data.matrix, metrics = keys.map((key) => data.metrics[key]);
    const places = keys.map((_, place) => place).filter((place) => keep(metrics[place]));
    const tau = (i, j) => (i === j ? 1000 : rows[Math.max(i, j)][Math.min(i, j)]);
    return places.flatMap((i) => places.map((j) => ({ a: metrics[j].title, b: metrics[i].title, tau: tau(i, j) === null ? null : tau(i, j) / 1000 })));
  }

  /** A column of few different values is written as these and their places, or how often each comes in a row. */
  function decoded(column) {
    if (Array.isArray(column)) return column;
    if (column.places) return column.places.map((place) => column.values[place]);
    return column.counts.flatMap((count, i) => Array(count).fill(column.values[i]));
  }

  function tableRows(name, section) {
    const keep = keeper(section);
    if (name === "matrix") return matrixRows(keep);
    const columns = Object.entries(data.tables[name]).map(([key, column]) => [key, decoded(column)]);
    const count = columns[0][1].length;
    const rows = Array.from({ length: count }, (_, i) => Object.fromEntries(columns.map(([key, values]) => [key, values[i]])));
    return rows.filter(keep);
  }

  const sectionOf = (figure) => figure.closest(".explorer") ?? figure;
  const tablesOf = (figure) => figure.dataset.tables.split(" ").map((name) => [name, tableRows(name, sectionOf(figure))]);

  /** The theme of the page, its legends and labels as wide as there is room for. */
  function configFor(figure) {
    const theme = window.suiteThemes[dark.matches ? "dark" : "light"], width = figure.querySelector(".drawing").clientWidth;
    const settings = all("fieldset[data-filter=setting] label", sectionOf(figure)).map((label) => label.textContent.length);
    const columns = Math.floor(width / (7 * Math.max(9, ...settings) + 30));
    const legend = { ...theme.legend, columns: Math.max(1, Math.min(6, columns)), titleLimit: 0.8 * width };
    const narrow = width < 600 ? { labelLimit: 140, titleFontSize: 11, titleLimit: 0.72 * width } : {};
    return { ...theme, legend, axis: { ...theme.axis, ...narrow } };
  }

  const drawn = new WeakMap(); // figure → promise of what is drawn there

  /** Draws a figure anew, after whatever is being drawn there. */
  function draw(figure) {
    const task = (drawn.get(figure) ?? Promise.resolve(null)).then(async (before) => {
      before?.finalize();
      const tables = tablesOf(figure);
      const spec = fill(data.charts[figure.dataset.chart], chosen(sectionOf(figure)));
      spec.datasets = { ...spec.datasets, ...Object.fromEntries(tables) };
      if (spec.width === "container" && spec.height.step) spec.height = spec.height.step * Math.max(2, tables[0][1].length);
      const result = await vegaEmbed(figure.querySelector(".drawing"), spec, {
        mode: "vega-lite",
        logLevel: 1, // errors: a layer without points, like that of networks left out where none is, is no reason to warn
        config: configFor(figure),
        renderer: tables[0][1].length > 4000 ? "canvas" : "svg", // so many shapes would make a page slow
        tooltip: { theme: dark.matches ? "dark" : "light" },
        actions: { export: true, source: false, compiled: false, editor: false },
        downloadFileName: figure.dataset.chart,
      });
      figure.dataset.drawn = Number(figure.dataset.drawn ?? 0) + 1;
      return result;
    });
    drawn.set(figure, task);
  }

  function csv(rows) {
    const quoted = (value) => (/[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
    const keys = Object.keys(rows[0] ?? {});
    const header = keys.map((key) => data.names?.[key] ?? key);
    return [header, ...rows.map((row) => keys.map((key) => row[key]))].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  }

  function offerData(figure) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "download";
    button.textContent = "Data (CSV)";
    button.addEventListener("click", () => {
      const [name, rows] = tablesOf(figure)[0];
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
      link.download = `${name}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    figure.append(button);
  }

  /** The sentence below the choices of a task's explorer. */
  function say(section) {
    const output = section.querySelector("output.said");
    if (!output) return;
    const words = chosen(section);
    output.textContent = data.said[words["@metric"]]?.[words["@target"]] ?? "";
  }

  /** `#metric=NAME&target=NAME` in the address chooses what an explorer shows. */
  function chooseFromAddress() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      for (const option of all(`select[name="${CSS.escape(name)}"] option`)) {
        if (option.dataset.name === value) option.selected = true;
      }
    }
  }

  function startCharts() {
    chooseFromAddress();
    for (const section of all(".explorer")) {
      const redraw = () => {
        say(section);
        all("figure.chart", section).forEach(draw);
      };
      all("form", section).forEach((form) => {
        form.hidden = false;
        form.addEventListener("input", redraw);
        form.addEventListener("submit", (event) => event.preventDefault());
      });
      say(section);
    }
    const figures = all("figure.chart");
    figures.forEach(offerData);
    figures.forEach(draw);
    dark.addEventListener("change", () => figures.forEach(draw));
    addEventListener("hashchange", () => {
      chooseFromAddress();
      all(".explorer").forEach(say);
      figures.forEach(draw);
    });
  }

  all("table.sortable").forEach(makeSortable);
  all("form.filter").forEach(makeFilter);
  if (data) startCharts();
})();
