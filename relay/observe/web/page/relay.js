// Talks to the relay: tokens, requests, the stream of events.

import { find, write } from "./dom.js";

const READER = "syslogrelay token";
const ADMIN = "syslogrelay admin token";
const EVENT_LENGTH_MAX = 16e6;

export class Refused extends Error {
  constructor(status, text, seconds) {
    super(text);
    this.status = status;
    this.seconds = seconds;
  }
}

const remembered = (name) => {
  try { return sessionStorage.getItem(name) ?? ""; } catch { return ""; }
};
const remember = (name, token) => {
  try {
    if (token) sessionStorage.setItem(name, token);
    else sessionStorage.removeItem(name);
  } catch { /* the browser keeps nothing: it asks again */ }
};
const authorized = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

async function request(path, token, options = {}) {
  const { headers = {}, ...rest } = options;
  const answer = await fetch(path, {
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    ...rest,
    headers: { ...headers, ...authorized(token) },
  });
  if (answer.ok) return answer;
  const text = (await answer.text()).trim();
  throw new Refused(answer.status, text || `answered ${answer.status}`, Number(answer.headers.get("Retry-After")) || 0);
}

let asking = null;

/** Asks for something in a dialog; gives the token, or true where none is wanted, or null. */
export function ask({ title, text, go, wantsToken, problem = "", danger = false, isNotice = false }) {
  asking ??= new Promise((done) => {
    const dialog = find("ask");
    const [form, input] = [find("ask-form"), find("ask-token")];
    write(find("ask-title"), title);
    write(find("ask-text"), text);
    write(find("ask-go"), go);
    write(find("ask-problem"), problem);
    find("ask-go").className = danger ? "danger" : "primary";
    find("ask-field").hidden = !wantsToken;
    find("ask-cancel").hidden = isNotice;
    input.value = "";
    let result = null;
    form.onsubmit = (event) => {
      event.preventDefault();
      result = wantsToken ? input.value.trim() : true;
      if (result) dialog.close();
    };
    find("ask-cancel").onclick = () => dialog.close();
    dialog.onclose = () => {
      input.value = "";
      asking = null;
      done(result);
    };
    dialog.showModal();
    (wantsToken ? input : find(isNotice ? "ask-go" : "ask-cancel")).focus();
  });
  return asking;
}

const askForToken = (problem) => ask({
  title: "Token",
  text: "This relay asks for the token of web.token_file. The browser keeps it until this tab is closed.",
  go: "Show the relay",
  wantsToken: true,
  problem,
});

/** An answer as JSON; asks for the token where one is needed. */
export async function read(path, options) {
  for (;;) {
    try {
      return await (await request(path, remembered(READER), options)).json();
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 401) throw error;
      await renewToken();
    }
  }
}

async function renewToken() {
  const problem = remembered(READER) ? "The relay does not take this token." : "";
  const token = await askForToken(problem);
  if (!token) throw new Refused(401, "no token was given; reload the page to enter it", 0);
  remember(READER, token);
}

/** Does something; asks for the admin token where it is not known. */
export async function act(name, body) {
  let problem = "";
  for (;;) {
    let token = remembered(ADMIN);
    if (!token) {
      token = await ask({
        title: "Admin token",
        text: "Actions need the token of web.admin_token_file. The browser keeps it until this tab is closed.",
        go: "Go on",
        wantsToken: true,
        problem,
      });
      if (!token) return null;
    }
    try {
      const answer = await request(`actions/${name}`, token, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      remember(ADMIN, token);
      return await answer.json();
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 401) throw error;
      remember(ADMIN, "");
      problem = "The relay does not take this token.";
    }
  }
}

/**
 * Events of a path for as long as the page is seen.  EventSource cannot send a token, so this reads
 * the stream itself.
 */
export class Events {
  constructor(path, { onEvent, onAway }) {
    this.path = path;
    this.onEvent = onEvent;
    this.onAway = onAway;
    this.wanted = false;
    this.running = false;
  }

  start() {
    this.wanted = true;
    if (!this.running) this.#run();
  }

  stop() {
    this.wanted = false;
    this.control?.abort();
  }

  async #run() {
    this.running = true;
    let pause = 1;
    while (this.wanted) {
      try {
        await this.#read(() => { pause = 1; });
        if (this.wanted) this.onAway("The connection has ended; connecting again …");
      } catch (error) {
        if (!this.wanted) break;
        if (error instanceof Refused && error.status === 401) {
          try {
            await renewToken();
            continue;
          } catch (refused) {
            this.onAway(refused.message);
            break;
          }
        }
        const isRefusal = error instanceof Refused;
        this.onAway(isRefusal ? error.message : "The relay does not answer; connecting again …");
        if (isRefusal && error.seconds) pause = error.seconds;
      }
      if (!this.wanted) break;
      await new Promise((done) => setTimeout(done, pause * 1000));
      pause = Math.min(10, pause * 1.7);
    }
    this.running = false;
  }

  async #read(onData) {
    const control = new AbortController();
    this.control = control;
    let silence = 0;
    const watch = () => {
      clearTimeout(silence);
      silence = setTimeout(() => control.abort(), 20000);
    };
    try {
      watch();
      const answer = await request(this.path, remembered(READER), { signal: control.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        watch();
        onData();
        text += value;
        const parts = text.split("\n\n");
        text = parts.pop();
        if (text.length > EVENT_LENGTH_MAX) throw new Error("an event is too long");
        for (const part of parts) {
          if (part.startsWith("data: ")) this.onEvent(JSON.parse(part.slice(6)));
        }
      }
    } finally {
      clearTimeout(silence);
      control.abort();
    }
  }
}
