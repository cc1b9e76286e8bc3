// Keeps a page live: when the log grows, its live parts are fetched again and put in place. Nothing here is needed to
// read or to command; without it, forms and links do the same.
"use strict";
(() => {
  const body = document.body;
  const past = body.hasAttribute("data-past");
  const say = (words) => { document.getElementById("announce").textContent = words; };
  const status = document.getElementById("live");

  // Live parts

  let busy = false, again = false;
  const ASKED_ONCE = ["look", "checkpoints", "said"];  // What asks a provider, or tells of a command: not with every event.

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const here = new URL(location.href);
      for (const name of ASKED_ONCE) here.searchParams.delete(name);
      const answer = await fetch(here, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (toSignIn(answer)) status.textContent = "not live: you are signed out";
      else if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server is away: the event stream says so, and it comes back by itself.
    }
    busy = false;
    if (again) { again = false; refresh(); }
  }

  function put(fresh) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || other.isEqualNode(part) || beingUsed(part)) continue;
      const open = [...part.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
      const scrolled = boxes(part).map((one) => [one.scrollLeft, one.scrollTop]);
      const focus = part.contains(document.activeElement) ? document.activeElement : null;
      const place = focus && alike(part, focus).indexOf(focus);
      const words = other.dataset.announce;
      if (words && words !== part.dataset.announce) say(words);
      part.replaceWith(document.adoptNode(other));
      for (const key of open) other.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.setAttribute("open", "");
      boxes(other).forEach((one, number) => { [one.scrollLeft, one.scrollTop] = scrolled[number] ?? [0, 0]; });
      if (focus) (alike(other, focus).find((one) => one.isEqualNode(focus)) ?? alike(other, focus)[place])?.focus({ preventScroll: true });
    }
    drawn();
    schedule();
  }

  const boxes = (part) => [part, ...part.querySelectorAll(".scroll, pre")];
  const alike = (part, one) => [part, ...part.querySelectorAll(one.tagName)];

  // A part that somebody is typing in, about to confirm in, sending from, or copying from, stays as it is.
  function beingUsed(part) {
    const focus = document.activeElement, chosen = getSelection();
    return part.querySelector("details.offer[open], form[data-send=asking]") !== null
      || (part.contains(focus) && focus.matches("input, select, textarea"))
      || (!chosen.isCollapsed && part.contains(chosen.anchorNode))
      || part.querySelector("input:checked:not(:default), input:not(:checked):default") !== null;
  }

  let timer = null;
  function schedule() {
    clearTimeout(timer);
    const times = [...document.querySelectorAll("[data-poll]")].map((one) => Number(one.dataset.poll));
    if (times.length) timer = setTimeout(refresh, Math.min(...times));
  }

  const RELOAD_MS = 15000, SETTLE_MS = 120;
  let waiting = null, fallback = null;

  function follow() {
    if (past || !document.querySelector("[data-live]")) return;
    schedule();
    if (!("EventSource" in window)) { reloadNowAndThen(); return; }
    const source = new EventSource(`/api/v1/events/stream?after=${body.dataset.head}`);
    const grown = () => {
      clearTimeout(waiting);
      waiting = setTimeout(refresh, SETTLE_MS);
    };
    source.onmessage = grown;
    source.addEventListener("event", grown);
    source.onopen = () => { status.textContent = "live"; clearInterval(fallback); fallback = null; };
    source.onerror = () => {
      status.textContent = "not live: refreshed every 15 s";
      if (source.readyState === EventSource.CLOSED) source.close();
      reloadNowAndThen();
    };
    addEventListener("pagehide", () => source.close());
  }

  function reloadNowAndThen() {
    if (fallback === null) fallback = setInterval(refresh, RELOAD_MS);
  }

  // Times: `3 min ago` stays true while the page is open, by the server's clock.

  const ahead = Date.parse(body.dataset.now) - Date.now();

  function tick() {
    for (const one of document.querySelectorAll("time[datetime]")) {
      const lasting = "lasting" in one.dataset;
      if (!lasting && !one.textContent.endsWith("ago") && one.textContent !== "just now") continue;
      const seconds = Math.floor((Date.now() + ahead - Date.parse(one.dateTime)) / 1000);
      if (seconds >= 0 && seconds < 3600) {
        const span = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
        one.textContent = lasting ? span : seconds < 5 ? "just now" : `${span} ago`;
      }
    }
  }

  // Curves: what they are at the step under the pointer.

  function drawn() {
    for (const figure of document.querySelectorAll("[data-chart]:not([data-ready])")) {
      figure.dataset.ready = "";
      const { first, last, curves } = JSON.parse(figure.dataset.chart);
      const svg = figure.querySelector(".box svg"), cursor = figure.querySelector(".cursor"), at = figure.querySelector(".at");
      svg.addEventListener("pointermove", (event) => {
        const frame = svg.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width));
        const step = first + share * (last - first);
        cursor.setAttribute("d", `M${share * 1000} 0V300`);
        cursor.setAttribute("visibility", "visible");
        const told = curves.map(({ points }) => points.reduce((a, b) => Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
        at.textContent = `step ${Math.round(step)}`;
        told.forEach((point, number) => { figure.querySelector(`[data-last="${number}"]`).textContent = point[1].toFixed(3); });
      });
      svg.addEventListener("pointerleave", () => {
        cursor.setAttribute("visibility", "hidden");
        at.textContent = "";
        curves.forEach(({ points }, number) => { figure.querySelector(`[data-last="${number}"]`).textContent = points.at(-1)[1].toFixed(3); });
      });
    }
  }

  // Panels: Escape and a click elsewhere close them; one is open at a time.

  function panels() {
    addEventListener("keydown", (event) => {
      const open = document.querySelector("details.offer[open]");
      if (event.key === "Escape" && open) { open.open = false; open.querySelector("summary").focus(); }
    });
    addEventListener("click", (event) => {
      for (const open of document.querySelectorAll("details.offer[open]")) if (!open.contains(event.target)) open.open = false;
    });
    document.addEventListener("submit", sendOnce);
    addEventListener("pageshow", () => { for (const one of document.querySelectorAll("button:disabled")) one.disabled = false; });
  }

  // Forms: sent once, and only to a server that is there and knows who sends. Else what was typed stays.

  const unsent = document.getElementById("unsent");
  const toSignIn = (answer) => answer.redirected && new URL(answer.url).pathname === "/login";

  function keep(why) {
    for (const one of unsent.querySelectorAll("[data-why]")) one.hidden = one.dataset.why !== why;
    unsent.hidden = why === null;
    if (why) unsent.scrollIntoView({ block: "nearest" });
  }

  async function cannotSend() {
    try {
      const answer = await fetch("/openapi.json", { method: "HEAD", credentials: "same-origin" });
      return answer.status === 401 ? "out" : null;
    } catch {
      return "away";
    }
  }

  async function sendOnce(event) {
    const form = event.target, button = event.submitter;
    if (form.method !== "post" || event.defaultPrevented || form.getAttribute("action") === "/session/end") return;
    if (form.dataset.send === "now") {
      form.dataset.send = "";
      if (button) setTimeout(() => { button.disabled = true; }, 0);
      return;
    }
    event.preventDefault();
    if (form.dataset.send === "asking") return;
    form.dataset.send = "asking";
    const why = await cannotSend();
    keep(why);
    form.dataset.send = why ? "" : "now";
    if (!why) form.requestSubmit(button);
  }

  // New fine-tune: a dropped file is sent and checked at once; the price is asked for without leaving the page.

  function tuning() {
    const form = document.querySelector("form[data-tune]");
    if (!form) return;
    for (const part of form.querySelectorAll("[data-upload]")) {
      const chooser = part.querySelector("input[type=file]"), zone = part.querySelector(".drop");
      chooser.addEventListener("change", () => { if (chooser.files.length) send(form, part, chooser.files[0]); });
      for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
      for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
      zone.addEventListener("drop", (event) => {
        event.preventDefault();
        if (event.dataTransfer.files.length) send(form, part, event.dataTransfer.files[0]);
      });
    }
    form.addEventListener("submit", (event) => {
      if (event.submitter?.value !== "check") return;
      event.preventDefault();
      estimate(form);
    });
    form.addEventListener("change", (event) => { if (event.target.type !== "file") priced(form); });
  }

  // The price stands there as soon as everything that it depends on does.
  function priced(form) {
    if (form.elements.train.value && form.checkValidity()) estimate(form);
  }

  function send(form, part, file) {
    const found = part.querySelector(".found"), [id, name] = part.querySelectorAll("input[type=hidden]");
    const query = new URLSearchParams({ name: file.name });
    for (const column of ["prompt_column", "completion_column", "system_column"]) {
      const value = form.elements[column].value.trim();
      if (value) query.set(column, value);
    }
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", `Sending ${file.name}`);
    found.replaceChildren(bar);
    id.value = "";
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1/datasets?${query}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => { if (event.lengthComputable) { bar.max = event.total; bar.value = event.loaded; } };
    request.onerror = () => tell(found, file.name, ["The server cannot be reached."], "fault");
    request.onload = () => {
      const answer = request.response;
      if (request.status === 401) { found.replaceChildren(); keep("out"); return; }
      if (request.status >= 300) { tell(found, file.name, [answer?.detail ?? `Not taken (${request.status})`], "fault"); return; }
      if (!answer.passed) { tell(found, file.name, answer.faults, "fault"); return; }
      id.value = answer.id;
      name.value = answer.name;
      part.querySelector("input[type=file]").required = false;
      tell(found, file.name, [`${answer.rows.toLocaleString("en")} row${answer.rows === 1 ? "" : "s"}, every check passed`], "", answer.warnings);
      priced(form);
    };
    request.send(file);
  }

  function tell(found, name, lines, kind, warnings = []) {
    const title = document.createElement("b"), list = document.createElement("ul");
    title.textContent = name;
    list.className = "checks";
    for (const [words, type] of [...lines.map((one) => [one, kind]), ...warnings.map((one) => [one, "warn"])]) {
      const line = document.createElement("li");
      if (type) line.className = type;
      line.textContent = words;
      list.append(line);
    }
    found.replaceChildren(title, list);
  }

  async function estimate(form) {
    const place = document.getElementById("estimate"), body = new FormData(form);
    for (const input of form.querySelectorAll("input[type=file]")) body.delete(input.name);
    body.set("intent", "check");
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(body), headers: { Accept: "text/html" } });
      if (toSignIn(answer)) keep("out");
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("estimate");
      if (fresh) place.replaceChildren(...document.adoptNode(fresh).childNodes);
      else if (!toSignIn(answer)) place.textContent = `The server answered ${answer.status}.`;
    } catch {
      place.textContent = "The server cannot be reached.";
    }
    place.removeAttribute("aria-busy");
    for (const button of form.querySelectorAll("button:disabled")) button.disabled = false;
  }

  // A page that tells why a form was refused: its own address, for whoever reloads it and for its live parts.
  if (body.dataset.address) history.replaceState(null, "", body.dataset.address);
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    history.replaceState(null, "", address);
  }
  document.getElementById("problem")?.scrollIntoView({ block: "nearest" });
  if (!past) setInterval(tick, 5000);
  panels();
  tuning();
  drawn();
  follow();
})();
