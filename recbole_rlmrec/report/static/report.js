(function () {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);

  /* Every text from data becomes a text node: this is the only way in which this script makes elements. */
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "onclick") element.addEventListener("click", value);
      else if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  /* --- plots --- */

  const AXIS = { gridcolor: "#e3e7ec", linecolor: "#8a93a0", zerolinecolor: "#8a93a0", automargin: true };

  function layoutOf(figure) {
    const layout = {
      font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 13, color: "#1b1f24" },
      title: { text: figure.title, font: { size: 15 }, x: 0, xref: "paper", xanchor: "left" },
      margin: { l: 56, r: 12, t: 44, b: 48 },
      height: 340,
      legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom" },
      uniformtext: { mode: "hide", minsize: 10 },
      dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      ...figure.layout,
    };
    layout.xaxis = { ...AXIS, ...(figure.layout.xaxis || {}) };
    layout.yaxis = { ...AXIS, ...(figure.layout.yaxis || {}) };
    if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
    return layout;
  }

  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

  function draw(place, choice) {
    const figures = data.figures[Number(place.dataset.figures)];
    const chosen = figures[choice === undefined ? Object.keys(figures)[0] : choice];
    for (const old of place.children) Plotly.purge(old);
    place.replaceChildren();
    const plots = chosen.map((figure) => make("div", { class: "plot", role: "img", "aria-label": figure.title }));
    place.classList.toggle("even", chosen.length === 4);
    place.append(...plots);
    for (const [position, figure] of chosen.entries()) {
      const plot = plots[position];
      const layout = layoutOf(figure);
      plot.style.minHeight = `${layout.height}px`;
      Plotly.newPlot(plot, figure.data, layout, CONFIG);
      plot.on("plotly_click", (event) => {
        const target = event.points[0].customdata;
        if (typeof target === "string") location.hash = "#" + encode(target);
      });
    }
  }

  function encode(target) {
    const [side, ...token] = target.split("/");
    return side + "/" + encodeURIComponent(token.join("/"));
  }

  function fit() {
    for (const plot of document.querySelectorAll(".plot")) Plotly.Plots.resize(plot);
  }

  for (const place of document.querySelectorAll("[data-figures]")) draw(place);
  for (const selector of document.querySelectorAll("select[data-for]")) {
    selector.addEventListener("change", () => {
      draw(document.querySelector(`[data-figures="${selector.dataset.for}"]`), selector.value);
    });
  }

  /* --- tables --- */

  function sortKey(text) {
    const number = parseFloat(text.replace(/^[+\s]+/, ""));
    return Number.isNaN(number) ? null : number;
  }

  function compareCells(first, second) {
    const [a, b] = [sortKey(first), sortKey(second)];
    if (a !== null && b !== null && a !== b) return a - b;
    if ((a === null) !== (b === null)) return a === null ? 1 : -1;
    return first.localeCompare(second, "en", { numeric: true });
  }

  function sortTable(header) {
    const table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    const text = (row) => row.cells[column].textContent.trim();
    rows.sort((a, b) => (down ? -1 : 1) * compareCells(text(a), text(b)));
    table.tBodies[0].append(...rows);
  }

  for (const button of document.querySelectorAll("th .sort")) {
    button.addEventListener("click", () => sortTable(button.closest("th")));
  }

  window.addEventListener("beforeprint", () => {
    fit();
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      folded.dataset.printed = "";
    }
  });
  window.addEventListener("afterprint", () => {
    fit();
    for (const opened of document.querySelectorAll("details[data-printed]")) {
      opened.open = false;
      delete opened.dataset.printed;
    }
  });

  /* --- profiles --- */

  const browser = data.browser;
  const SHOWN = 60;
  const OTHER = { user: "item", item: "user" };
  if (!browser || !document.getElementById("browser")) return;

  const query = document.getElementById("query");
  const order = document.getElementById("order");
  const matches = document.getElementById("matches");
  const found = document.getElementById("found");
  const place = document.getElementById("entry");
  const base = browser.variants.includes("base") ? "base" : null;
  const aligned = browser.variants.filter((name) => name !== base);
  const byToken = { user: new Map(), item: new Map() };
  for (const side of ["user", "item"]) {
    for (const entry of browser.entries[side]) byToken[side].set(browser.names[side][entry.i], entry);
  }
  const lacking = { user: new Set(browser.lacking.user), item: new Set(browser.lacking.item) };
  const numbered = { user: new Map(), item: new Map() };
  for (const side of ["user", "item"]) browser.names[side].forEach((token, index) => numbered[side].set(token, index));
  const collator = new Intl.Collator("en", { numeric: true });
  const textOf = (number) => (number === null || number === undefined ? "" : browser.texts[number]);
  let current = null;

  function label(side, index) {
    const token = browser.names[side][index];
    return side === "item" && browser.titles[index] ? browser.titles[index] : `${side} ${token}`;
  }

  function sideNow() {
    return document.querySelector('input[name="side"]:checked').value;
  }

  function change(entry, name) {
    const score = entry.score || {};
    return base !== null && score[base] !== undefined && score[name] !== undefined ? score[name] - score[base] : null;
  }

  function sorts(side) {
    const options = [
      ["name", side === "user" ? "id" : "title", (a, b) => collator.compare(label(side, a.i), label(side, b.i)), () => ""],
      ["most", "training interactions, most first", (a, b) => b.n - a.n, (entry) => `${entry.n} in training`],
      ["fewest", "training interactions, fewest first", (a, b) => a.n - b.n, (entry) => `${entry.n} in training`],
    ];
    for (const name of base === null ? [] : aligned) {
      const gain = (entry) => (side === "user" ? change(entry, name) : (entry.held[name] || 0) - (entry.held[base] || 0));
      const rank = (entry, sign) => (gain(entry) === null ? -Infinity : sign * gain(entry));
      const what = side === "user" ? `${browser.metric}, ${name} over base` : `users recommended to, ${name} over base`;
      const digits = side === "user" ? 3 : 0;
      const said = (entry) => (gain(entry) === null ? "" : (gain(entry) >= 0 ? "+" : "") + gain(entry).toFixed(digits));
      options.push([`gain-${name}`, `${what}, highest first`, (a, b) => rank(b, 1) - rank(a, 1) || a.i - b.i, said]);
      options.push([`loss-${name}`, `${what}, lowest first`, (a, b) => rank(b, -1) - rank(a, -1) || a.i - b.i, said]);
    }
    return options;
  }

  function fillSorts() {
    const before = order.value;
    order.replaceChildren(...sorts(sideNow()).map(([key, text]) => make("option", { value: key }, text)));
    if ([...order.options].some((option) => option.value === before)) order.value = before;
  }

  function search() {
    const side = sideNow();
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [, , compare, said] = sorts(side).find(([key]) => key === order.value) || sorts(side)[0];
    const fits = (entry) => {
      const text = `${browser.names[side][entry.i]} ${label(side, entry.i)} ${textOf(entry.p)}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const exact = (entry) => (browser.names[side][entry.i].toLowerCase() === query.value.trim().toLowerCase() ? 0 : 1);
    const hits = browser.entries[side].filter(fits).sort((a, b) => exact(a) - exact(b) || compare(a, b));
    const more = hits.length > SHOWN ? `, the first ${SHOWN} are listed` : "";
    found.textContent = `${hits.length} of ${browser.entries[side].length} ${side}s${more}`;
    matches.replaceChildren(...hits.slice(0, SHOWN).map((entry) => match(side, entry, said(entry))));
  }

  function match(side, entry, note) {
    const token = browser.names[side][entry.i];
    const selected = current && current[0] === side && current[1] === token;
    const attributes = { type: "button", "data-token": token, "aria-current": selected ? "true" : null, onclick: () => go(side, token) };
    return make("li", {}, make("button", attributes, make("span", {}, label(side, entry.i)), make("span", { class: "side-note" }, note)));
  }

  matches.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...matches.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    (next || (step < 0 ? query : document.activeElement)).focus();
    event.preventDefault();
  });
  query.addEventListener("keydown", (event) => {
    const first = matches.querySelector("button");
    if (event.key === "ArrowDown" && first) {
      first.focus();
      event.preventDefault();
    }
  });

  /* Headings and bold of the little Markdown that language models write; all else is text as it is. */
  function prose(text) {
    const parts = [];
    let lines = [];
    const flush = () => {
      if (lines.join("").trim()) parts.push(make("p", {}, ...bold(lines.join("\n").trim())));
      lines = [];
    };
    for (const line of text.split("\n")) {
      const heading = /^#{1,6}\s+(.*)$/.exec(line);
      if (heading) {
        flush();
        parts.push(make("h5", {}, heading[1]));
      } else lines.push(line);
    }
    flush();
    return make("div", { class: "text" }, ...parts);
  }

  function bold(text) {
    return text.split(/\*\*([^*\n]+)\*\*/).map((part, position) => (position % 2 ? make("strong", {}, part) : part));
  }

  function reference(side, index) {
    const token = browser.names[side][index];
    const away = byToken[side].has(token) ? null : "away";
    return make("a", { href: "#" + encode(`${side}/${token}`), class: away, title: away && absence(side, token) }, label(side, index));
  }

  function list(title, items, empty) {
    return make("div", {}, make("h4", {}, title), items.length ? make("ol", {}, ...items) : make("p", { class: "quiet" }, empty));
  }

  function history(side, entry) {
    if (entry.p === null) return null;
    const heading = make("h3", {}, "Quoted history");
    if (entry.q === null) return make("div", {}, heading, make("p", { class: "quiet" }, "Which interactions the profile quotes is not recorded."));
    if (!entry.q.length) return make("div", {}, heading, make("p", { class: "quiet" }, "The profile quotes no interactions."));
    const lines = entry.q.map(([index, detail]) =>
      make("li", {}, reference(OTHER[side], index), detail === null ? null : make("span", { class: "quiet" }, ` ${textOf(detail)}`)));
    const more = entry.more ? make("p", { class: "quiet" }, `and ${entry.more} more`) : null;
    return make("div", {}, heading, make("ul", { class: "history" }, ...lines), more);
  }

  function recommendations(entry) {
    const names = browser.variants.filter((name) => entry.top[name]);
    const heading = make("h3", {}, `Top ${browser.top} with and without alignment`);
    if (!names.length) return make("div", {}, heading, make("p", { class: "quiet" }, "This user has no test interaction, so nothing was ranked."));
    const before = new Set((entry.top[base] || []).map(([index]) => index));
    const columns = names.map((name) => {
      const score = entry.score[name] === undefined ? "" : `, ${browser.metric} ${entry.score[name].toFixed(3)}`;
      const items = entry.top[name].map(([index, hit]) =>
        make("li", {}, reference("item", index),
          hit ? make("span", { class: "hit" }, " in test") : null,
          name !== base && base !== null && !before.has(index) ? make("span", { class: "new" }, " new") : null));
      return list((name === base ? "base, no alignment" : name) + score, items, "nothing");
    });
    const note = `"in test": one of the user's ${entry.tests} test interactions. "new": not in the list without alignment.`;
    return make("div", {}, heading, make("div", { class: "columns" }, ...columns), make("p", { class: "quiet" }, note));
  }

  function holders(entry) {
    const names = Object.keys(entry.held);
    if (!names.length) return null;
    const said = names.map((name) => `${name} ${entry.held[name]}`).join(", ");
    return make("div", {}, make("h3", {}, `In the top ${browser.top} of how many users`), make("p", {}, said));
  }

  function nearest(side, entry) {
    const columns = browser.spaces.map((space) => {
      const items = entry.near[space].map(([index, cosine]) =>
        make("li", {}, reference(side, index), make("span", { class: "quiet" }, ` ${cosine.toFixed(2)}`)));
      return list(space === "semantic" ? "semantic" : `collaborative, ${space}`, items, "not in this space");
    });
    return make("div", {}, make("h3", {}, "Nearest neighbours, by cosine"), make("div", { class: "columns" }, ...columns));
  }

  /* Why a user or an item is not here. */
  function absence(side, token) {
    const [shown, known] = [browser.entries[side].length, browser.known[side]];
    const index = numbered[side].get(token);
    if (index !== undefined && lacking[side].has(index)) return `${side} ${token} has neither a profile nor an embedding of one.`;
    if (shown === known) return `${side} ${token} is not among the ${known} ${side}s of this report.`;
    const command = `recbole-rlmrec show --dataset ${browser.dataset} --tag ${browser.tag} --${side} ${token}`;
    return `${side} ${token} is not in this report, which holds ${shown} of ${known} ${side}s; \`${command}\` prints the profile if there is one, and report --limit ${known} holds all.`;
  }

  function show(side, token) {
    const entry = byToken[side].get(token);
    current = [side, token];
    if (!entry) {
      const heading = numbered[side].has(token) ? label(side, numbered[side].get(token)) : `${side} ${token}`;
      place.replaceChildren(make("h3", {}, heading), make("p", {}, absence(side, token)));
      return;
    }
    const about = `${side} ${token}, ${entry.n} training interactions${entry.by ? `, profile by ${entry.by}` : ""}`;
    const parts = [make("h3", {}, label(side, entry.i)), make("p", { class: "quiet" }, about)];
    parts.push(entry.p === null ? make("p", {}, "No profile.") : prose(textOf(entry.p)));
    if (entry.r !== null && entry.r !== undefined) parts.push(make("details", {}, make("summary", {}, "Reasoning"), prose(textOf(entry.r))));
    parts.push(history(side, entry), side === "user" ? recommendations(entry) : holders(entry), nearest(side, entry));
    place.replaceChildren(...parts.filter(Boolean));
  }

  function go(side, token) {
    location.hash = "#" + encode(`${side}/${token}`);
  }

  function follow(focus) {
    let target;
    try {
      target = /^#(user|item)\/(.+)$/.exec(location.hash);
      if (target) target = [target[1], decodeURIComponent(target[2])];
    } catch (error) {
      target = null;
    }
    if (!target) return false;
    const radio = document.querySelector(`input[name="side"][value="${target[0]}"]`);
    if (!radio.checked) {
      radio.checked = true;
      query.value = "";
      fillSorts();
    }
    show(...target);
    search();
    if (focus) {
      place.focus({ preventScroll: true });
      const top = place.getBoundingClientRect().top;
      if (top < 0 || top > window.innerHeight * 0.6) place.scrollIntoView();
    }
    return true;
  }

  document.getElementById("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const first = matches.querySelector("button");
    if (first) first.click();
  });
  query.addEventListener("input", search);
  order.addEventListener("change", search);
  for (const radio of document.querySelectorAll('input[name="side"]')) {
    radio.addEventListener("change", () => {
      fillSorts();
      search();
    });
  }
  window.addEventListener("hashchange", () => follow(true));
  fillSorts();
  if (!follow(false)) {
    const side = browser.entries.user.length ? "user" : "item";
    document.querySelector(`input[name="side"][value="${side}"]`).checked = true;
    fillSorts();
    search();
    const first = matches.querySelector("button");
    if (first) {
      show(side, first.dataset.token);
      search();
    }
  }
})();
