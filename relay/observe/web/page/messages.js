// Messages themselves: samples of lost ones, and the search.

import { counted, dateAndTime, find, keep, make, size, write } from "./dom.js";
import { read } from "./relay.js";

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
