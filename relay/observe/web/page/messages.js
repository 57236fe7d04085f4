// Messages themselves: samples of lost ones, the search, and those that pass.

import { counted, dateAndTime, find, keep, make, size, timeOfDay, write } from "./dom.js";
import { Events, read } from "./relay.js";

const TAIL_MAX = 200;

/** One message: a line about it, and its text. */
export function message({ at, text, notes = [] }) {
  const about = [at ? dateAndTime(at) : "", ...notes].filter(Boolean).join(" · ");
  return make("li", {}, make("span", { class: "about" }, about), make("code", {}, text || " "));
}

export async function showSamples() {
  const found = await read("samples");
  const groups = Object.entries(found).flatMap(([source, reasons]) =>
    Object.entries(reasons).map(([reason, samples]) => ({ source, reason, samples })));
  find("samples-none").hidden = groups.length > 0;
  keep(find("sample-groups"), groups, (group) => `${group.source} ${group.reason}`,
    () => make("details", {}, make("summary"), make("ol", { class: "messages" })),
    (element, group) => {
      write(element.firstChild, `${group.source}: ${group.reason}, the last ${group.samples.length}`);
      const newest = group.samples.at(-1);
      const mark = `${newest?.at} ${newest?.text} ${group.samples.length}`;
      if (element.dataset.mark === mark) return;
      element.dataset.mark = mark;
      element.lastChild.replaceChildren(...group.samples.toReversed().map((each) =>
        message({ at: each.at, text: each.text, notes: [each.peer, size(each.size)] })));
    });
}

let known = "";

/** The places where one may search: queues of destinations, and quarantines that hold something. */
export function showPlaces(event) {
  const places = [];
  const quarantines = [];
  for (const each of event.destinations) {
    const queues = each.lanes ? Object.entries(each.lanes).map(([name, lane]) => [lane.queue, `${each.id} (${name})`]) : [[each.id, each.id]];
    for (const [id, label] of queues) places.push(["queue", id, `queue of ${label}`]);
    if (each.quarantined_records) quarantines.push(["quarantine", each.id, `quarantine of ${each.id}`]);
  }
  for (const id of event.orphans ?? []) places.push(["queue", id, `queue of ${id}, which nobody uses`]);
  for (const each of event.sources) {
    if (each.quarantine) quarantines.push(["quarantine", `source/${each.id}`, `quarantine of source ${each.id}`]);
  }
  places.push(...quarantines);
  const now = JSON.stringify(places);
  if (now === known) return;
  known = now;
  const select = find("search-place");
  keep(select, places, (place) => place.slice(0, 2).join(" "), ([kind, id, label]) =>
    make("option", { value: JSON.stringify([kind, id]) }, label));
}

export function startSearch() {
  let asked = null;
  let next = null;
  let found = 0;
  let lookedAt = 0;
  const [status, more, list] = [find("search-status"), find("search-more"), find("search-found")];

  async function go() {
    const mine = asked;
    more.disabled = true;
    write(status, "Searching …");
    try {
      const answer = await read(`search?${new URLSearchParams({ ...asked, start: next })}`);
      if (mine !== asked) return;
      list.append(...answer.matches.map((each) =>
        message({ at: each.at, text: each.text, notes: [`number ${each.seq}`, each.key, each.reason, each.peer] })));
      found += answer.matches.length;
      lookedAt += answer.looked_at;
      next = answer.next;
      const end = next === null ? "That is all." : "There is more.";
      write(status, `${counted(found, "message")} found, ${counted(lookedAt, "message")} looked at. ${end}`);
    } catch (error) {
      write(status, error.message);
    }
    more.hidden = next === null;
    more.disabled = false;
  }

  find("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!find("search-place").value) return;
    const [kind, id] = JSON.parse(find("search-place").value);
    asked = { in: kind, of: id, text: find("search-text").value };
    [next, found, lookedAt] = [0, 0, 0];
    list.replaceChildren();
    go();
  });
  more.addEventListener("click", () => {
    if (list.children.length >= 1000) list.replaceChildren(); // the page keeps a bounded number
    go();
  });
}

let ids = { source: [], destination: [] };

function showIds() {
  const stage = find("tail-stage").value;
  const what = stage === "received" || stage === "dropped" ? "source" : "destination";
  const items = [["", `all ${what}s`], ...ids[what].map((id) => [id, id])];
  keep(find("tail-id"), items, ([id, label]) => `${label} ${id}`, ([id, label]) => make("option", { value: id }, label));
}

/** The sources and destinations at which one may look. */
export function showStages(event) {
  const now = { source: event.sources.map((each) => each.id), destination: event.destinations.map((each) => each.id) };
  if (JSON.stringify(now) === JSON.stringify(ids)) return;
  ids = now;
  showIds();
}

export function startTail() {
  const [list, status, go, leftOut] = [find("tail-lines"), find("tail-status"), find("tail-go"), find("tail-left-out")];
  let events = null;

  function show(found) {
    for (const each of found) {
      if (each.left_out) {
        leftOut.hidden = false;
        write(leftOut, `${counted(each.left_out, "message")} left out, since they are too many to show.`);
      }
      if (each.text === undefined) continue;
      const notes = [timeOfDay(each.at), each.source ?? each.destination, each.peer, each.reason];
      list.prepend(message({ text: each.text, notes }));
    }
    while (list.children.length > TAIL_MAX) list.lastChild.remove();
  }

  function pause(text) {
    events?.stop();
    events = null;
    write(go, "Start");
    write(status, text);
  }

  function start() {
    const asked = { stage: find("tail-stage").value, id: find("tail-id").value, text: find("tail-text").value };
    leftOut.hidden = true;
    write(go, "Pause");
    write(status, "Waiting for messages; the newest is at the top.");
    const mine = new Events(`tap?${new URLSearchParams(asked)}`, {
      onEvent: (found) => mine === events && show(found),
      onAway: (text) => mine === events && pause(`Paused: ${text}`),
    });
    events = mine;
    mine.start();
  }

  find("tail-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (events) pause("Paused: messages that pass now are not shown.");
    else start();
  });
  find("tail-clear").addEventListener("click", () => {
    list.replaceChildren();
    leftOut.hidden = true;
  });
  for (const id of ["tail-stage", "tail-id", "tail-text"]) {
    find(id).addEventListener("change", () => {
      if (id === "tail-stage") showIds();
      if (!events) return;
      pause("");
      start();
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && events) pause("Paused, since the page was hidden.");
  });
  showIds();
}
