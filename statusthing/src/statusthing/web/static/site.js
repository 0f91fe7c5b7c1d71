// Makes pages nicer and is not needed by any: they are whole without it.
"use strict";
(() => {
  const STEPS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

  // "5 minutes ago" before each absolute time, which the server wrote so that pages can be kept.
  function ago(seconds) {
    for (const [unit, length] of STEPS) {
      if (Math.abs(seconds) >= length) return words.format(-Math.trunc(seconds / length), unit);
    }
    return "just now";
  }
  function tellTimes() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      if (!time.dataset.absolute) {
        time.dataset.absolute = time.textContent;
        time.title = new Date(at).toLocaleString();
      }
      const text = `${ago((Date.now() - at) / 1000)} · ${time.dataset.absolute}`;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // An open page follows what changes.
  function follow(live) {
    let source, timer, again, fetching, wanted, failures = 0, fetched = 0;
    const announcer = document.getElementById("announcer");
    const offline = document.getElementById("offline");
    const here = () => document.getElementById("live");

    function later(act, seconds) {
      clearTimeout(timer);
      timer = setTimeout(act, seconds * 1000);
    }
    // From one second to one minute, and never all pages at the same moment.
    function back(act) {
      later(act, Math.min(60, 2 ** failures) * (0.5 + Math.random()));
      failures += 1;
    }
    function open() {
      close();
      if (document.hidden) return;
      source = new EventSource(live.dataset.events);
      source.onopen = () => {
        failures = 0;
        offline.hidden = true;
      };
      source.onmessage = (event) => {
        if (event.data !== here().dataset.revision) refresh();
      };
      source.onerror = () => {
        close();
        back(open);
        // Not of a server or a proxy that only begins anew.
        if (failures > 1) offline.hidden = false;
      };
      recheck();
    }
    // No event tells that what was last known is right again.
    function recheck() {
      clearTimeout(again);
      if ("stale" in here().dataset) again = setTimeout(() => { if (source) refresh(); }, 5000 + 5000 * Math.random());
    }
    function close() {
      clearTimeout(timer);
      if (source) source.close();
      source = undefined;
    }
    async function refresh() {
      if (fetching) { wanted = true; return; }
      fetching = true;
      wanted = false;
      try {
        // At most once a second, however much happens.
        await new Promise((go) => { setTimeout(go, Math.max(0, fetched + 1000 - Date.now())); });
        fetched = Date.now();
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
        else if (answer.status === 404) location.reload();
      } catch {
        wanted = false; // the stream fails too then, and begins again
      }
      fetching = false;
      if (wanted) refresh();
      else recheck();
    }
    function replace(page) {
      if (!page.getElementById("live")) return;
      const said = document.querySelector("h1").textContent;
      const state = document.querySelector("#headline .state");
      const before = said + (state ? `: ${state.textContent}` : "");
      const focused = document.activeElement;
      const target = focused && focused.closest("#items, #live") && focused.getAttribute("href");
      const top = focused && target ? focused.getBoundingClientRect().top : 0;
      for (const id of ["live", "items"]) {
        const now = document.getElementById(id), next = page.getElementById(id);
        if (!now || !next) continue;
        if (id === "items") marked(now, next);
        now.replaceWith(document.adoptNode(next));
      }
      for (const id of ["favicon", "palette"]) {
        const now = document.getElementById(id), next = page.getElementById(id);
        if (now && next && now.getAttribute("href") !== next.getAttribute("href")) now.setAttribute("href", next.getAttribute("href"));
      }
      document.title = page.title;
      tellTimes();
      if (target) {
        const again = [...document.querySelectorAll("#items a, #live a")].find((a) => a.getAttribute("href") === target);
        if (again) {
          again.focus({ preventScroll: true });
          scrollBy({ top: again.getBoundingClientRect().top - top, behavior: "instant" });
        }
      }
      const headline = document.querySelector("h1").textContent;
      const stated = document.querySelector("#headline .state");
      const after = headline + (stated ? `: ${stated.textContent}` : "");
      if (announcer && after !== before) announcer.textContent = after.replace(/\s+/g, " ");
    }
    // What is new is shown for a moment.
    function marked(now, next) {
      const plain = (element) => {
        const copy = element.cloneNode(true);
        for (const time of copy.querySelectorAll("time")) time.replaceWith(time.dateTime);
        return copy.innerHTML;
      };
      const known = new Set([...now.querySelectorAll(".item, .notes.all > li")].map(plain));
      for (const element of next.querySelectorAll(".item, .notes.all > li")) {
        if (!known.has(plain(element))) element.classList.add("changed");
      }
    }
    document.addEventListener("visibilitychange", () => { document.hidden ? close() : open(); });
    addEventListener("pagehide", close);
    addEventListener("pageshow", (event) => { if (event.persisted) open(); });
    open();
  }

  // In devmode, the page comes anew when its template or our assets were edited.
  function reload(url) {
    new EventSource(url).addEventListener("reload", () => { location.reload(); });
  }

  function start() {
    tellTimes();
    setInterval(tellTimes, 30000);
    const live = document.getElementById("live");
    if (live && window.EventSource) follow(live);
    if (document.documentElement.dataset.reloads) reload(document.documentElement.dataset.reloads);
    // Where the navigation is longer than the screen, one sees where one is.
    const tab = document.querySelector(".nav [aria-current]");
    const nav = tab && tab.closest(".nav");
    if (nav && tab.offsetLeft + tab.offsetWidth > nav.clientWidth - 16) nav.scrollLeft = tab.offsetLeft - 64;
    // What was done is said once, and not again when the page is loaded again.
    const here = new URL(location.href);
    if (here.searchParams.has("done")) {
      here.searchParams.delete("done");
      history.replaceState(history.state, "", here);
    }
    // Whoever opens the form of an item goes on with the keyboard.
    document.addEventListener("toggle", ({ target }) => {
      if (target.matches("details.update[open]")) target.querySelector("select").focus();
    }, true);
    // A form is sent once, even if its button is pressed twice.
    for (const form of document.querySelectorAll("form[method=post]")) {
      form.addEventListener("submit", (event) => {
        if (form.dataset.sent) event.preventDefault();
        form.dataset.sent = "yes";
      });
    }
    addEventListener("pageshow", () => {
      for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    });
    // What is there to be copied is selected whole.
    for (const field of document.querySelectorAll("input[readonly].code")) {
      field.addEventListener("focus", () => { field.select(); });
    }
    for (const select of document.querySelectorAll("form.filter select")) {
      select.addEventListener("change", () => { select.form.requestSubmit(); });
    }
  }
  start();
})();
