// Puts the page together: each event of the relay goes to all parts.

import { Charts } from "./charts.js";
import { find, write } from "./dom.js";
import { drawFlow } from "./flow.js";
import { showCertificates, showDestinations, showHealth, showRelays, showSenders, showSources, showTiles } from "./lists.js";
import { showPlaces, showSamples, showStages, startSearch, startTail } from "./messages.js";
import { Events } from "./relay.js";

const HIDDEN_SECONDS = 30; // a page that nobody sees reads no events after that
const SAMPLES_SECONDS = 10;

const charts = new Charts();
const parts = [showHealth, showTiles, drawFlow, showDestinations, showSources, showSenders, showRelays, showCertificates, showPlaces, showStages];
let last = null;
let sampledAt = 0;

function show(event) {
  const isFirst = last === null;
  last = event;
  find("away").hidden = true;
  charts.note(event);
  if (document.hidden) return;
  for (const part of parts) part(event);
  if (isFirst) charts.fetch().catch(() => {});
  if (Date.now() - sampledAt > SAMPLES_SECONDS * 1000) {
    sampledAt = Date.now();
    showSamples().catch(() => {});
  }
}

function away(text) {
  find("away").hidden = false;
  write(find("away"), text);
  find("health").dataset.state = "idle";
  write(find("health-text"), "not connected");
}

const events = new Events("events", { onEvent: show, onAway: away });
let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => events.stop(), HIDDEN_SECONDS * 1000);
  else {
    events.start();
    if (last) show(last);
  }
});
addEventListener("resize", () => last && drawFlow(last));
startSearch();
startTail();
events.start();
