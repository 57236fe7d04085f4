// Charts of what comes in each second: from the relay's history, and then live.

/* global uPlot */
import { find, keep, make, rate, rows, set, timeOfDay, dateAndTime, write, brief } from "./dom.js";
import { read } from "./relay.js";

const SERIES = [
  ["messages", "Messages/s", "--messages"],
  ["warnings", "Warnings/s", "--warnings"],
  ["errors", "Errors/s", "--errors"],
  ["drops", "Drops/s", "--drops"],
  ["delivered", "Delivered/s", "--good"],
  ["queued_records", "Queued", "--accent"],
];
const LEVELS = new Set(["queued_records", "queued_bytes"]); // the others are counts in some seconds
const SPANS = [[600, "10 min"], [3600, "1 h"], [21600, "6 h"], [86400, "24 h"]];
const NAMES = ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
const TONES = ["#7a1020", "#a3162a", "#c62a36", "#df5348", "#d99a26", "#3f8fc4", "#6fa8a0", "#9aa5b1"];
const HEIGHT = 150;
const ROWS = 12;

const valueOf = (point, name) => (LEVELS.has(name) ? point[name] : point[name] / point.seconds);
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  #span = 600;
  #history = null; // columns of the relay
  #points = []; // [at, seconds, counts by name], newer than the history
  #last = null; // the last event
  #plots = new Map();
  #fetchedAt = 0;
  #drawn = "";

  constructor() {
    for (const [seconds, label] of SPANS) {
      const input = make("input", { type: "radio", name: "span", value: seconds, checked: seconds === this.#span });
      input.addEventListener("change", () => this.#choose(seconds));
      find("span").append(make("label", {}, input, make("span", {}, label)));
    }
    for (const [name, label, color] of SERIES) this.#figure(name, label, color);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#restyle());
    new ResizeObserver(() => this.#resize()).observe(find("charts"));
  }

  #figure(name, label, color) {
    const summary = make("span", { id: `${name}-summary` });
    const plot = make("div", { class: "plot", role: "img", "aria-label": `Chart: ${label.replace("/s", " a second")}`, "aria-describedby": summary.id });
    const caption = make("figcaption", {}, make("strong", {}, label), summary);
    const figure = make("figure", { id: `chart-${name}` }, caption, plot);
    figure.style.setProperty("--tone", `var(${color})`);
    find("charts").append(figure);
    this.#plots.set(name, { plot, summary, color, chart: null, hovered: null });
  }

  async #choose(seconds) {
    this.#span = seconds;
    await this.fetch();
  }

  /** Gets the history anew: it has a point for each ten seconds, or for more where it is long. */
  async fetch() {
    this.#fetchedAt = Date.now();
    const span = this.#span;
    const history = await read(`history?seconds=${span}`);
    if (span !== this.#span) return;
    this.#history = history;
    const end = history.at.at(-1) ?? 0;
    this.#points = this.#points.filter((point) => point.at > end);
    this.draw();
  }

  /** An event has come. */
  note(event) {
    const last = this.#last;
    this.#last = event;
    if (last) {
      const seconds = event.at - last.at;
      const isAnotherRun = event.uptime_seconds < last.uptime_seconds;
      if (!isAnotherRun && seconds > 0 && seconds < 15) {
        const counts = {};
        for (const name of Object.keys(event.totals)) counts[name] = Math.max(0, event.totals[name] - last.totals[name]);
        const severities = {};
        const before = new Map(last.sources.map((source) => [source.id, source.severities]));
        NAMES.forEach((severity, number) => {
          let more = 0;
          for (const source of event.sources) more += source.severities[severity] - (before.get(source.id)?.[severity] ?? 0);
          severities[`severity${number}`] = Math.max(0, more);
        });
        const queued_records = event.destinations.reduce((all, each) => all + each.queued_records, 0);
        this.#points.push({ at: event.at, seconds, queued_records, ...counts, ...severities });
        if (this.#points.length > 900) this.#points.shift();
      }
    }
    const age = Date.now() - this.#fetchedAt;
    if (age > (this.#span > 3600 ? 60000 : 10000) && !document.hidden) this.fetch().catch(() => {});
    this.draw();
  }

  /** Times, and for each series what came in a second until then; null where nothing is known. */
  #data() {
    const points = [];
    const history = this.#history;
    if (history) {
      for (let place = 0; place < history.at.length; place++) {
        const point = { at: history.at[place], seconds: history.seconds[place] };
        for (const name of Object.keys(history)) point[name] = history[name][place];
        points.push(point);
      }
    }
    const live = this.#span === 600 ? this.#points : joined(this.#points, 10);
    points.push(...live.filter((point) => point.at > (points.at(-1)?.at ?? 0)));
    const now = this.#last?.at ?? points.at(-1)?.at ?? Date.now() / 1000;
    return points.filter((point) => point.at > now - this.#span && point.at <= now + 1);
  }

  draw() {
    if (document.hidden) return;
    const points = this.#data();
    const now = this.#last?.at ?? points.at(-1)?.at ?? Date.now() / 1000;
    const times = [];
    const series = Object.fromEntries(SERIES.map(([name]) => [name, []]));
    let before = null;
    for (const point of points) {
      if (before !== null && point.at - point.seconds - before > 25) {
        times.push(point.at - point.seconds); // nobody has counted in between
        for (const [name] of SERIES) series[name].push(null);
      }
      times.push(point.at);
      for (const [name] of SERIES) series[name].push(valueOf(point, name));
      before = point.at;
    }
    for (const [name] of SERIES) this.#draw(name, [times, series[name]], [now - this.#span, now]);
    this.#table(points);
    this.#mix(points);
  }

  #draw(name, data, [from, to]) {
    const each = this.#plots.get(name);
    each.range = [from, to];
    if (!each.chart) each.chart = new uPlot(this.#options(each), data, each.plot);
    else each.chart.setData(data);
    const known = data[1].filter((value) => value !== null);
    const highest = known.length ? Math.max(...known) : null;
    const mean = known.length ? known.reduce((all, one) => all + one, 0) / known.length : null;
    if (each.hovered === null) write(each.summary, known.length ? `now ${rate(known.at(-1))}, mean ${rate(mean)}, highest ${rate(highest)}` : "nothing known yet");
  }

  #options(each) {
    const [muted, line, color] = [tone("--muted"), tone("--line"), tone(each.color)];
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(100, each.plot.clientWidth),
      height: HEIGHT,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "traffic" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => each.range },
        y: { range: (chart, lowest, highest) => [0, highest > 0 ? highest * 1.1 : 1] },
      },
      axes: [
        { ...axis, size: 26, gap: 4, space: 70, grid: { show: false }, values: [[3600, "{HH}:{mm}", null, null, null, null, null, null, 1], [60, "{HH}:{mm}", null, null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] },
        { ...axis, size: 46, gap: 4, space: 36, values: (chart, values) => values.map((value) => (value === null ? "" : rate(value))) },
      ],
      series: [{}, { stroke: color, width: 1.6, fill: `${color}22`, points: { show: false }, spanGaps: false }],
      hooks: { setCursor: [(chart) => this.#hover(each, chart)] },
    };
  }

  #hover(each, chart) {
    const place = chart.cursor.idx;
    each.hovered = chart.cursor.left >= 0 && place !== null && place !== undefined ? place : null;
    if (each.hovered === null) return;
    const value = chart.data[1][place];
    write(each.summary, `${timeOfDay(chart.data[0][place])}: ${value === null ? "not known" : rate(value)}`);
  }

  #table(points) {
    const step = Math.max(1, Math.ceil(this.#span / ROWS));
    const chosen = joined(points, step).slice(-ROWS).reverse();
    const cells = (point) => [
      { text: (this.#span > 43200 ? dateAndTime : timeOfDay)(point.at) },
      ...SERIES.map(([name]) => ({ text: rate(valueOf(point, name)), number: true })),
    ];
    rows(find("traffic-rows"), chosen, (point) => Math.floor(point.at / step), cells, "Nothing is known yet.");
  }

  #mix(points) {
    const counts = NAMES.map((name, number) => points.reduce((all, point) => all + (point[`severity${number}`] ?? 0), 0));
    const all = counts.reduce((one, other) => one + other, 0);
    const label = SPANS.find(([seconds]) => seconds === this.#span)[1];
    write(find("severity-span"), `in the last ${label.replace("min", "minutes")}`);
    const items = NAMES.map((name, number) => ({ name, tone: TONES[number], count: counts[number] })).filter((item) => item.count > 0);
    keep(find("mix"), items, (item) => item.name, (item) => paint(make("i"), item), (element, item) => {
      element.style.flex = `${item.count} 0 0`;
    });
    if (!items.length) {
      keep(find("mix-legend"), [""], () => "-", () => make("li", { class: "muted" }, "No message in this time."));
      return;
    }
    keep(
      find("mix-legend"), items, (item) => item.name,
      (item) => make("li", {}, paint(make("span", { class: "swatch", "aria-hidden": "true" }), item), make("span")),
      (element, item) => write(element.lastChild, `${item.name} ${brief(item.count)} (${share(item.count / all)})`),
    );
  }

  #restyle() {
    for (const each of this.#plots.values()) {
      each.chart?.destroy();
      each.chart = null;
    }
    this.draw();
  }

  #resize() {
    for (const each of this.#plots.values()) {
      const width = each.plot.clientWidth;
      if (each.chart && width && width !== each.chart.width) each.chart.setSize({ width, height: HEIGHT });
    }
  }
}

function share(part) {
  const percent = 100 * part;
  return percent > 0 && percent < 1 ? "< 1 %" : `${Math.round(percent)} %`;
}

function paint(element, item) {
  element.style.setProperty("--tone", item.tone);
  return element;
}

/** Neighbours within the same `step` seconds become one point. */
function joined(points, step) {
  const found = [];
  for (const point of points) {
    const last = found.at(-1);
    if (last && Math.floor(last.at / step) === Math.floor(point.at / step)) {
      for (const name of Object.keys(point)) {
        if (LEVELS.has(name)) last[name] = Math.max(last[name] ?? 0, point[name]);
        else if (name !== "at") last[name] = (last[name] ?? 0) + point[name];
      }
      last.at = point.at;
    } else found.push({ ...point });
  }
  return found;
}
