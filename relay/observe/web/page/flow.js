// The picture of the flow: sources, queue, destinations; widths by rate, colours by state.

import { brief, counted, find, rate, size, write } from "./dom.js";
import { stateOfDestination, stateOfSource } from "./lists.js";

const SVG = "http://www.w3.org/2000/svg";
const NODES_MAX = 12;
const [BOX, GAP] = [46, 12];

function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

const fitting = (text, width) => {
  const most = Math.max(3, Math.floor(width / 7));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
};

export function drawFlow(event) {
  const parent = find("flow-picture");
  const width = Math.max(220, parent.clientWidth);
  const isNarrow = width < 560;
  const middle = isNarrow ? 64 : Math.min(150, width * 0.2);
  const side = Math.min(230, (width - middle) / 2 - (isNarrow ? 26 : width * 0.12));
  const sources = event.sources.slice(0, NODES_MAX).map((source) => ({
    name: source.id, rate: source.rates["10s"].messages, state: stateOfSource(source),
  }));
  const destinations = event.destinations.slice(0, NODES_MAX).map((destination) => ({
    name: destination.id, rate: destination.rates["10s"].delivered, state: stateOfDestination(destination), queued: destination.queued_records,
  }));
  const count = Math.max(sources.length, destinations.length, 1);
  const height = count * (BOX + GAP) + 8;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "flow");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  const summary = `${counted(event.sources.length, "source")}, ${counted(event.destinations.length, "destination")}`;
  const bad = destinations.filter((each) => each.state !== "good").map((each) => each.name);
  svg.setAttribute("aria-label", `${summary}; ${bad.length ? `not well: ${bad.join(", ")}` : "all is well"}. The numbers are in the lists below.`);
  const highest = Math.max(1, ...sources.map((each) => each.rate), ...destinations.map((each) => each.rate));
  const stroke = (each) => (each.rate > 0 ? 2 + (isNarrow ? 9 : 16) * Math.sqrt(each.rate / highest) : 1.5);
  const y = (place, all) => (height - all * (BOX + GAP) + GAP) / 2 + place * (BOX + GAP);
  const [left, right] = [(width - middle) / 2, (width + middle) / 2];
  const mid = height / 2;
  const spread = (place, all) => mid + (place - (all - 1) / 2) * Math.min(22, (height - 30) / Math.max(1, all));

  const edge = (from, to, each, title) => {
    const bend = (to[0] - from[0]) / 2;
    const path = draw(svg, "path", {
      class: "edge", "data-state": each.rate > 0 || each.state === "bad" ? each.state : "idle", "stroke-width": stroke(each).toFixed(1),
      d: `M${from[0]} ${from[1]}C${from[0] + bend} ${from[1]} ${to[0] - bend} ${to[1]} ${to[0]} ${to[1]}`,
    });
    draw(path, "title", {}, title);
  };
  sources.forEach((each, place) => edge([side, y(place, sources.length) + BOX / 2], [left, spread(place, sources.length)], each, `${each.name}: ${rate(each.rate)}/s`));
  destinations.forEach((each, place) => edge([right, spread(place, destinations.length)], [width - side, y(place, destinations.length) + BOX / 2], each, `${each.name}: ${rate(each.rate)}/s`));

  const node = (x, top, each, second) => {
    draw(svg, "rect", { x: x + 0.5, y: top + 0.5, width: side - 1, height: BOX - 1, rx: 7 });
    draw(svg, "rect", { class: "mark", "data-state": each.state, x: x + 0.5, y: top + 7, width: 4, height: BOX - 14, rx: 2 });
    const name = draw(svg, "text", { x: x + 13, y: top + 19 }, fitting(each.name, side - 18));
    draw(name, "title", {}, each.name);
    draw(svg, "text", { class: "sub", x: x + 13, y: top + 36 }, fitting(second, side - 18));
  };
  sources.forEach((each, place) => node(0, y(place, sources.length), each, `${rate(each.rate)}/s`));
  destinations.forEach((each, place) => node(width - side, y(place, destinations.length), each, `${rate(each.rate)}/s${each.queued && !isNarrow ? `, ${brief(each.queued)} queued` : ""}`));

  const tall = Math.max(84, Math.min(height - 8, 22 * count + 50));
  draw(svg, "rect", { x: left, y: mid - tall / 2, width: middle, height: tall, rx: 9 });
  const queued = event.destinations.reduce((all, each) => all + each.queued_records, 0);
  const texts = [["sub", "queue"], ["big", brief(queued)], ["sub", size(event.admission.queue_bytes)]];
  texts.forEach(([kind, text], line) => draw(svg, "text", { class: kind, x: width / 2, y: mid - 16 + 21 * line, "text-anchor": "middle" }, text));
  const left_out = Math.max(0, event.sources.length - NODES_MAX) + Math.max(0, event.destinations.length - NODES_MAX);
  parent.replaceChildren(svg);
  if (left_out) {
    const more = document.createElement("p");
    more.className = "muted";
    parent.append(write(more, `${left_out} more are in the lists below.`));
  }
}
