// Elements and words.  Everything that comes from the relay becomes text nodes and attributes.

export const find = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function set(element, name, value) {
  if (name === "dataState") name = "data-state";
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** Changes the text only if it is another one, so that selections and screen readers stay calm. */
export function write(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

/** One child for each item: those that are there are kept, so focus and scrolling stay. */
export function keep(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (child) old.delete(name);
    else {
      child = create(item);
      child.dataset.key = name;
    }
    if (child !== next) parent.insertBefore(child, next);
    else next = next.nextElementSibling;
    update?.(child, item);
  }
  for (const child of old.values()) child.remove();
}

/** Table rows whose cells are texts; the first is the row's heading. */
export function rows(body, items, key, cells, empty) {
  if (!items.length) {
    keep(body, [""], () => "-", () => make("tr", {}, make("td", { class: "muted", colspan: 20 }, empty)));
    return;
  }
  const create = (item) =>
    make("tr", {}, ...cells(item).map((cell, place) => {
      const attributes = { class: cell.number ? "number" : null, scope: place ? null : "row" };
      const children = [make("span")];
      if ("note" in cell) children.push(make("span", { class: "muted" }));
      return make(place ? "td" : "th", attributes, ...children);
    }));
  const update = (row, item) =>
    cells(item).forEach((cell, place) => {
      const [main, note] = row.children[place].children;
      write(main, cell.text);
      set(main, "class", cell.state ? "label" : null);
      set(main, "dataState", cell.state);
      if (note) write(note, cell.note ?? "");
    });
  keep(body, items, key, create, update);
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const count = (number) => whole.format(number);
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const brief = (number) => (number < 10000 ? whole.format(number) : short.format(number));
export function rate(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 10000) return short.format(number);
  return (number >= 100 ? whole.format(Math.round(number)) : number >= 10 ? one.format(number) : two.format(number));
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / length);
    rest %= length;
    if (number || (unit === "s" && !parts.length)) parts.push(`${number} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

export function size(bytes) {
  let amount = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (amount < 1024 || unit === "TiB") return `${one.format(amount)} ${unit}`;
    amount /= 1024;
  }
  return "";
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const stamp = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
export const timeOfDay = (seconds) => clock.format(seconds * 1000);
export const dateAndTime = (seconds) => stamp.format(seconds * 1000);
export const sum = (numbers) => Object.values(numbers ?? {}).reduce((all, each) => all + each, 0);
