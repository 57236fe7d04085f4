// What the page shows as words and numbers: health, tiles, destinations, sources, senders, and so on.

import { act, ask } from "./relay.js";
import { brief, count, counted, dateAndTime, find, keep, make, rate, rows, set, size, span, sum, write } from "./dom.js";

export function stateOfDestination(destination) {
  if (destination.paused) return "warn";
  if (!destination.ready || destination.refuses_everything || destination.stalled_seconds) return "bad";
  return destination.rates["10s"].drops > 0 ? "warn" : "good";
}

export function stateOfSource(source) {
  if (source.ready === false) return "bad";
  return source.rates["10s"].drops > 0 ? "warn" : "good";
}

let announced = null;

const said = (alert) => `${alert.subject}: ${alert.text}`;

function showProblems(list, items) {
  keep(list, items, (item) => items.indexOf(item),
    () => make("li", {}, make("span", {}, make("span"), " ", make("span", { class: "muted" }))),
    (element, item) => {
      set(element, "dataState", item.state);
      write(element.firstChild.firstChild, item.text);
      write(element.firstChild.lastChild, item.note);
    });
}

export function showHealth(event) {
  // An alert that runs is among the problems; the list of alerts knows since when.
  const alerts = new Map((event.alerts ?? []).map((alert) => [`${said(alert)} (alert ${alert.rule})`, alert]));
  const problems = event.degraded.map((text) => {
    const alert = alerts.get(text);
    if (!alert) return { text, state: "bad", note: "" };
    return { text: said(alert), state: alert.severity === "warning" ? "warn" : "bad", note: `alert ${alert.rule}, since ${dateAndTime(alert.since)}` };
  });
  const all = problems.length;
  const state = !all ? "good" : problems.some((each) => each.state === "bad") ? "bad" : "warn";
  set(find("health"), "dataState", state);
  write(find("health-text"), !all ? "healthy" : all === 1 ? problems[0].text : `${problems[0].text} (and ${all - 1} more)`);
  write(find("name"), event.name);
  document.title = `${all ? `(${all}) ` : ""}${event.name} – syslogrelay`;
  write(find("version"), `syslogrelay ${event.version}, up ${span(event.uptime_seconds)}`);
  write(find("footer-version"), event.version);
  write(find("footer-time"), `As of ${dateAndTime(event.at)}.`);
  // Said aloud only if something begins or ends, not each time a number changes.
  const words = all ? `The relay needs attention: ${counted(all, "problem")}.` : "The relay is healthy.";
  if (announced !== words) write(find("announced"), words);
  announced = words;
  const ended = (event.alerts_ended ?? []).map((alert) => ({
    text: said(alert), state: "idle", note: `alert ${alert.rule}, ${dateAndTime(alert.since)} to ${dateAndTime(alert.ended)}`,
  }));
  find("problems").hidden = !all && !ended.length;
  write(find("problems-title"), all ? "Needs attention" : "Nothing needs attention");
  find("ended").hidden = !ended.length;
  showProblems(find("problem-list"), problems);
  showProblems(find("ended-list"), ended);
}

export function showTiles(event) {
  const { "10s": now, "60s": minute } = event.rates;
  const queued = event.destinations.reduce((all, each) => all + each.queued_records, 0);
  const oldest = Math.max(0, ...event.destinations.map((each) => each.oldest_seconds ?? 0));
  const left = event.admission.seconds_to_full;
  const of = (name, label, tone) => ({ label, tone, value: rate(now[name]), note: `${rate(minute[name])} over a minute` });
  const tiles = [
    of("messages", "Messages/s", "--messages"), of("warnings", "Warnings/s", "--warnings"), of("errors", "Errors/s", "--errors"),
    of("drops", "Drops/s", "--drops"), of("delivered", "Delivered/s", "--good"),
    { label: "Queued", tone: "--accent", value: brief(queued), note: left !== null ? `full in ${span(left)}` : queued && oldest >= 1 ? `oldest ${span(oldest)}` : size(event.admission.queue_bytes) },
  ];
  keep(find("tiles"), tiles, (tile) => tile.label, (tile) => {
    const element = make("div", {}, make("dt", {}, tile.label), make("dd"), make("dd"));
    element.style.setProperty("--tone", `var(${tile.tone})`);
    return element;
  }, (element, tile) => {
    write(element.children[1], tile.value);
    write(element.children[2], tile.note);
  });
}

const ACTIONS = {
  pause: "Pause", resume: "Resume", connect: "Connect now", requeue: "Send again", purge: "Purge …",
};
const FACTS = ["Queued", "Oldest", "Empty in", "Delivered/s", "In flight", "Dropped"];

export function showDestinations(event) {
  const parent = find("destination-cards");
  keep(parent, event.destinations, (each) => each.id, (each) => {
    const buttons = make("div", { class: "buttons", role: "group", "aria-label": `Actions of ${each.id}` });
    for (const [name, label] of Object.entries(ACTIONS)) {
      const button = make("button", { type: "button", "data-action": name, class: name === "purge" ? "danger" : null }, label);
      button.addEventListener("click", () => perform(name, button.closest("article").relay, button));
      buttons.append(button);
    }
    const facts = make("dl", {}, ...FACTS.map((label) => make("div", {}, make("dt", {}, label), make("dd"))));
    return make("article", { class: "destination" },
      make("h3"), make("p", { class: "to muted" }), make("p", { class: "state" }), facts, make("p", { class: "more muted" }), buttons);
  }, (card, each) => {
    card.relay = each;
    const [title, to, state, facts, more, buttons] = card.children;
    set(card, "dataState", stateOfDestination(each));
    write(title, each.id);
    write(to, each.connect);
    write(state, each.state);
    const limit = each.limit ?? {};
    const values = [
      limit.fill_percent ? `${count(each.queued_records)} (${limit.fill_percent} %)` : count(each.queued_records),
      each.queued_records ? span(each.oldest_seconds) : "–",
      each.queued_records && typeof limit.seconds_to_empty === "number" ? span(limit.seconds_to_empty) : "–",
      rate(each.rates["10s"].delivered),
      count(each.in_flight_records),
      count(sum(each.dropped_records)),
    ];
    values.forEach((value, place) => write(facts.children[place].lastChild, value));
    const notes = [...each.details];
    if (typeof limit.seconds_to_full === "number") notes.unshift(`full in ${span(limit.seconds_to_full)}`);
    if (each.quarantined_records) notes.push(`${counted(each.quarantined_records, "message")} set aside`);
    const reasons = Object.entries(each.dropped_records).filter(([, number]) => number).map(([reason, number]) => `${reason} ${count(number)}`);
    if (reasons.length) notes.push(`dropped: ${reasons.join(", ")}`);
    if (each.sources.length) notes.push(`from ${each.sources.join(", ")}`);
    write(more, notes.join("; "));
    buttons.hidden = !event.actions;
    buttons.querySelector("[data-action=pause]").hidden = each.paused;
    buttons.querySelector("[data-action=resume]").hidden = !each.paused;
  });
}

async function perform(name, destination, button) {
  const { id } = destination;
  if (name === "purge") {
    const text = `${counted(destination.queued_records, "message")} of ${id} will be deleted from the queue and counted as dropped. They cannot be had back.`;
    if (!(await ask({ title: `Purge the queue of ${id}?`, text, go: "Purge", wantsToken: false, danger: true }))) return;
  }
  button.disabled = true;
  try {
    write(find("acted"), await done(name, destination));
  } catch (error) {
    write(find("acted"), `${ACTIONS[name]}: ${error.message}`);
    await ask({ title: "That did not work", text: error.message, go: "Close", wantsToken: false, isNotice: true });
  } finally {
    button.disabled = false;
    if (button.hidden) button.closest(".buttons").querySelector("button:not([hidden])")?.focus();
  }
}

async function done(name, destination) {
  const { id } = destination;
  if (name !== "purge") {
    const answer = await act(name, { destination: id });
    if (!answer) return "Nothing was done.";
    return { pause: `${id} is paused.`, resume: `${id} sends again.`, connect: `${id}: ${answer.result?.[id]}`, requeue: `${id}: ${counted(Number(answer.result), "message")} will be sent again.` }[name];
  }
  const queues = destination.lanes ? Object.values(destination.lanes).map((lane) => lane.queue) : [id];
  let records = 0;
  for (const queue of queues) {
    let upto = 0;
    for (;;) {
      const answer = await act(name, { destination: id, queue, upto });
      if (!answer) return "Nothing was done.";
      records += answer.result.records;
      upto = answer.result.upto;
      if (!answer.result.left) break;
    }
  }
  return `${counted(records, "message")} of ${id} were deleted.`;
}

export function showSources(event) {
  rows(find("source-rows"), event.sources, (each) => each.id, (each) => {
    const now = each.rates["10s"];
    const state = stateOfSource(each);
    const words = each.ready === false ? each.state : state === "warn" ? "loses messages" : "receives";
    return [
      { text: each.id, note: each.address },
      { text: words, state },
      { text: rate(now.messages), number: true },
      { text: rate(now.errors), number: true },
      { text: rate(now.drops), number: true },
      { text: count(each.received_records), number: true },
      { text: count(sum(each.dropped_records)), number: true },
      { text: count(each.parse_failures), number: true },
      { text: count(each.peers), number: true },
    ];
  }, "There are no sources.");
}

export function showSenders({ senders }) {
  const key = (each) => `${each.source} ${each.peer}`;
  rows(find("top-rows"), senders.top, key, (each) => [
    { text: each.peer, note: each.last_error }, { text: each.source },
    { text: rate(each.per_second), number: true }, { text: count(each.records), number: true },
  ], "Nobody has sent anything yet.");
  rows(find("silent-rows"), senders.silent, key, (each) => [
    { text: each.peer }, { text: each.source },
    { text: span(each.idle_seconds), number: true }, { text: count(each.records), number: true },
  ], "Nobody is.");
}

function toggle(id, isShown) {
  find(id).hidden = !isShown;
  document.querySelector(`nav a[href="#${id}"]`).hidden = !isShown;
}

export function showRelays(event) {
  const relays = event.fleet ?? [];
  toggle("relays", relays.length);
  rows(find("relay-rows"), relays, (each) => `${each.host} ${each.peer ?? ""}`, (each) => [
    { text: each.host, note: each.peer ?? "" },
    { text: each.state, state: each.state === "ok" ? "good" : "warn" },
    { text: each.version },
    { text: each.queued_records === null ? "–" : count(each.queued_records), number: true },
    { text: each.queued_records ? span(each.oldest_seconds) : "–", number: true },
    { text: `${span(each.last_seen_seconds)} ago`, number: true },
  ], "");
  const more = (event.fleet_count ?? 0) - relays.length;
  find("relays-more").hidden = more <= 0;
  write(find("relays-more"), `${counted(more, "more relay")}: syslogrelay fleet shows them.`);
}

export function showCertificates(event) {
  const found = event.certificates ?? [];
  toggle("certificates", found.length);
  rows(find("certificate-rows"), found, (each) => `${each.subject} ${each.kind} ${each.certificate ?? each.crl ?? ""}`, (each) => {
    const left = each.expires_days ?? each.days_left;
    const state = left !== undefined && left <= 0 ? "bad" : each.problem ? "warn" : "good";
    return [
      { text: each.subject },
      { text: each.problem || (each.kind === "crl" ? "list is valid" : "valid"), state },
      { text: each.certificate ?? each.crl ?? "–", note: each.issuer ?? "" },
      { text: left === undefined ? "–" : left.toFixed(left < 10 ? 1 : 0), number: true },
    ];
  }, "");
}
