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

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
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
      const words = other.dataset.announce;
      if (words && words !== part.dataset.announce) say(words);
      part.replaceWith(document.adoptNode(other));
      for (const key of open) other.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.setAttribute("open", "");
    }
    drawn();
    schedule();
  }

  // A part that somebody is typing in, or about to confirm in, stays as it is.
  function beingUsed(part) {
    const focus = document.activeElement;
    return part.querySelector("details.offer[open]") !== null
      || (part.contains(focus) && focus.matches("input, select, textarea"))
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

  // Times: `3 min ago` stays true while the page is open.

  function tick() {
    for (const one of document.querySelectorAll("time[datetime]")) {
      if (!one.textContent.endsWith("ago") && one.textContent !== "just now") continue;
      const seconds = Math.floor((Date.now() - Date.parse(one.dateTime)) / 1000);
      if (seconds >= 0 && seconds < 3600) one.textContent = seconds < 5 ? "just now" : seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
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
    document.addEventListener("submit", (event) => {
      const button = event.target.querySelector("button:not([type=button])");
      if (event.target.method === "post" && button) setTimeout(() => { button.disabled = true; }, 0);
    });
    addEventListener("pageshow", () => { for (const one of document.querySelectorAll("button:disabled")) one.disabled = false; });
  }

  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    history.replaceState(null, "", address);
  }
  document.getElementById("problem")?.scrollIntoView({ block: "nearest" });
  if (!past) setInterval(tick, 5000);
  panels();
  drawn();
  follow();
})();
