// The guard script of sessionguard takes a page off the screen when the session
// it was made for is over. It decides nothing: the server does, on every request.
// Guard.Script in the Go package says how to include it, and what it does.
(() => {
  "use strict";

  // A page that changes without being loaded may bring the script again.
  const running = Symbol.for("sessionguard");
  if (document[running]) return document.dispatchEvent(new Event("sessionguard:check"));
  document[running] = true;

  const script = document.currentScript;
  const option = (name, fallback) => script.dataset[name] ?? fallback;
  const duration = (name, fallback) => {
    const seconds = parseFloat(option(name));
    return 1000 * (seconds >= 0 ? seconds : fallback);
  };
  const beside = (name) => new URL(name, script.src).href;

  // ---- How long the session has ----

  // The session that the page was made for: undefined is not known yet, "" nobody's.
  let session = option("session");
  // What the server last said is left of it, in milliseconds, and when it was asked.
  let known = { idle: duration("idleSeconds", 0), absolute: duration("absoluteSeconds", 0), at: pageAsked() };
  let longest = known.idle;

  // Of two clocks the one that ran further counts: one may stand still while the
  // machine sleeps, the other may be set back. Being early costs a question to
  // the server; being late would show what is over.
  function clock() { return { steady: performance.now(), wall: Date.now() }; }
  function since(at) { return Math.max(performance.now() - at.steady, Date.now() - at.wall); }
  function pageAsked() {
    const steady = performance.getEntriesByType("navigation")[0]?.requestStart ?? 0;
    return { steady, wall: performance.timeOrigin + steady };
  }
  function left() { return known.idle - since(known.at); }
  function atLimit() { return known.idle >= known.absolute; } // activity no longer helps
  function warnFrom() { return Math.min(duration("warn", 60), longest / 3); }

  // learn takes what the server said, to this page or to another tab's.
  function learn(answer) {
    known = answer;
    longest = Math.max(longest, known.idle);
    if (left() > warnFrom()) {
      confirmed = dismissed = false;
      failed = "";
      if (shown !== "hidden") close();
    }
  }

  // A tick a second, because one long timer stands still while the machine sleeps.
  let confirmed = false; // that the end is near
  let dismissed = false; // its warning, which only the absolute timeout's can be
  function tick() {
    if (hidden || session === undefined) {
      const waited = since(lastCheck);
      if (hidden) cover();
      if (hidden && waited > 900) open("hidden");
      if (waited > (hidden && !known.idle ? 900 : 6000) && !leaving) check(); // 0 seconds are less than one
      return;
    }
    if (!session) return;
    const poll = duration("poll", 60);
    if (left() <= 0) {
      hide();
      check();
    } else if (left() > warnFrom()) {
      const visible = document.visibilityState === "visible";
      if (poll && visible && since(known.at) > poll && since(lastCheck) > poll) check();
    } else if (since(acted) < 5000 && !staying && !failed && !atLimit()) {
      stay();
    } else if (!confirmed) { // the session may have been active elsewhere
      confirmed = true;
      check();
    } else if (!dismissed && !staying) {
      open(atLimit() ? "limit" : "idle");
    }
  }

  // ---- Asking the server ----

  let checks = 0; // only the answer to the last one counts
  let lastCheck = clock();
  async function check(name = "status", method = "GET") {
    if (leaving) return leave();
    lastCheck = clock();
    const mine = ++checks;
    const answer = await ask(name, method);
    if (mine !== checks || leaving) return;
    staying = false;
    if (method === "POST") failed = answer ? "" : option("failed", "The server did not answer, please try again.") + " ";
    if (!answer) return;
    session = session || answer.session; // a page that could not be told, or whose login was a fetch
    if (answer.session !== session) return leave();
    learn(answer);
    announce();
    if (session && left() <= 0) return hide();
    show();
    tick();
  }

  // ask is undefined if there is no answer, or none that makes sense.
  async function ask(name, method) {
    const at = clock();
    try {
      const answer = await fetch(beside(name), {
        method, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(5000),
      });
      const status = answer.ok ? await answer.json() : {};
      if (status.authenticated === false) return { session: "", idle: 0, absolute: 0, at };
      const idle = 1000 * status.idle_seconds, absolute = 1000 * status.absolute_seconds;
      if (status.session && idle >= 0 && absolute >= idle) return { session: status.session, idle, absolute, at };
    } catch {
      // Offline, too slow, or somebody else's page in between: nobody can tell.
    }
  }

  let staying = false;
  let failed = ""; // why the last try to stay did not work
  function stay() {
    staying = true;
    lastStay = clock();
    check("stay", "POST");
  }

  // Activity counts only for a page that asks for it. Not what a script does, and
  // not a page that moves under a pointer at rest. What is not told within seconds
  // is not told at all, so that a session may end a minute early, never late.
  let acted = { steady: -Infinity, wall: -Infinity };
  let lastStay = pageAsked();
  function act(event) {
    if (!event.isTrusted || !session || hidden || shown || left() <= 0) return;
    if (event.type === "pointermove" && !event.movementX && !event.movementY) return;
    acted = clock();
    const told = Math.min(since(lastStay), longest - left()); // by this tab or by any
    if (told > 60000 && !staying && !atLimit()) stay();
  }
  if (option("activity", "off") !== "off") {
    for (const type of ["keydown", "pointerdown", "pointermove", "wheel", "touchmove"]) {
      addEventListener(type, act, { capture: true, passive: true });
    }
  }

  // ---- Other tabs ----

  let channel;
  function listen() {
    channel = new BroadcastChannel("sessionguard " + beside("."));
    channel.onmessage = ({ data }) => {
      if (!session) return; // nobody's page has nothing to hide
      if (data.session === session) {
        if (data.wall >= known.at.wall) learn({ ...data, at: { steady: performance.now(), wall: data.wall } });
      } else {
        if (data.session !== undefined) hide();
        check();
      }
    };
  }
  function announce() {
    channel.postMessage({ session, idle: known.idle, absolute: known.absolute, wall: known.at.wall });
  }

  // ---- Off the screen and back ----

  // Not visibility, which any element inside can set again. The sheet, over which
  // CSP has no say, also covers a body that is replaced; the body's own style wins
  // against all that the page's sheets call important.
  const blank = new CSSStyleSheet();
  blank.replaceSync(":root > :not(head, sessionguard-dialog, #_#_#_) { display: none !important }");
  const covered = new Map();
  let hidden = null; // or how the page was
  function hide() {
    hidden = hidden || { left: scrollX, top: scrollY, behavior: "instant", focus: document.activeElement, title: document.title };
    cover();
  }
  function cover() {
    const body = document.body, style = body?.style;
    if (body && !covered.has(body)) {
      covered.set(body, [style.getPropertyValue("display"), style.getPropertyPriority("display")]);
      style.setProperty("display", "none", "important");
    }
    if (!document.adoptedStyleSheets.includes(blank)) document.adoptedStyleSheets = [...document.adoptedStyleSheets, blank];
  }
  function show() {
    if (!hidden) return;
    const was = hidden;
    hidden = null;
    close();
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== blank);
    covered.forEach((display, body) => body.style.setProperty("display", ...display));
    covered.clear();
    document.title = was.title;
    was.focus?.focus({ preventScroll: true });
    scrollTo(was);
  }

  // leave is for a page that will not come back: its content goes (OWASP ASVS
  // 14.3.1), and the server says what comes instead.
  let leaving = false;
  function leave() {
    leaving = true;
    hide();
    document.body?.replaceChildren();
    const query = new URLSearchParams({ next: option("next", location.pathname + location.search + location.hash) });
    if (left() <= 0) query.set("reason", atLimit() ? "absolute" : "idle");
    location.replace(beside("resume?" + query));
  }

  function logOut() {
    leaving = posted = true;
    hide();
    element("form", host.shadowRoot, { method: "post", action: option("logout", beside("logout")) }).submit();
  }

  // ---- The dialog ----

  // Each kind has a title, a text and the label of its main button.
  const words = {
    idle: ["Are you still there?", "You will be logged out in {time}. What you have not saved will be lost.", "Stay signed in"],
    limit: ["Your session is about to end", "You will be logged out in {time}, however active you are. Save your work, then log in again.", "Continue"],
    hidden: ["Checking your session", "This page is hidden until the server confirms that you are still logged in.", "Try again"],
  };
  let host, dialog, title, text, main, out, spoken;
  let shown = ""; // the kind

  function element(name, parent, properties) {
    return parent.appendChild(Object.assign(document.createElement(name), properties));
  }
  function build() {
    host = document.createElement("sessionguard-dialog");
    const style = new CSSStyleSheet();
    style.replaceSync(`
      :host { all: initial; color-scheme: inherit }
      dialog {
        box-sizing: border-box; width: min(28rem, 100vw - 2rem); padding: 1.5rem;
        font: 1rem/1.5 var(--sessionguard-font, system-ui, sans-serif); overflow-wrap: break-word;
        color: var(--sessionguard-color, CanvasText); background: var(--sessionguard-background, Canvas);
        border: 1px solid var(--sessionguard-border, GrayText); border-radius: var(--sessionguard-radius, 12px);
      }
      ::backdrop { background: var(--sessionguard-backdrop, rgb(0 0 0 / .5)) }
      h2 { margin: 0 0 .5rem; font-size: 1.25rem; line-height: 1.3 }
      p { margin: 0 0 1rem }
      div { display: flex; flex-wrap: wrap; gap: .75rem }
      button {
        flex: auto; min-height: 2.75rem; padding: .5rem 1rem; cursor: pointer;
        font: inherit; font-weight: 600; color: inherit; background: none;
        border: 1px solid; border-radius: min(8px, var(--sessionguard-radius, 8px));
      }
      .main { color: var(--sessionguard-accent-color, #fff); background: var(--sessionguard-accent, #0b5cad) }
      [hidden] { display: none }
      .spoken { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }
    `);
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    dialog = element("dialog", root, { onclose: closed });
    dialog.setAttribute("role", "alertdialog");
    dialog.setAttribute("aria-labelledby", "title");
    dialog.setAttribute("aria-describedby", "text");
    title = element("h2", dialog, { id: "title" });
    text = element("p", dialog, { id: "text" });
    spoken = element("p", dialog, { className: "spoken" });
    spoken.setAttribute("role", "alert");
    const buttons = element("div", dialog);
    main = element("button", buttons, { className: "main", onclick: () => dialog.close() });
    out = element("button", buttons, { textContent: option("out", "Log out"), onclick: logOut });
  }

  function open(kind) {
    if (!dialog) build();
    if (!host.isConnected) {
      close();
      document.documentElement.append(host);
    }
    const [itsTitle, itsText, itsButton] = ["Title", "Text", "Button"].map((part, i) => option(kind + part, words[kind][i]));
    title.textContent = itsTitle;
    text.textContent = failed + itsText.replace("{time}", inWords(left()));
    if (shown !== kind) {
      shown = kind;
      main.textContent = itsButton;
      out.hidden = kind === "hidden";
      spoken.textContent = "";
      if (hidden) document.title = itsTitle; // the page's may tell as much as the page
      if (!dialog.open) dialog.showModal();
      main.focus();
    }
    // Screen readers read the dialog when it opens. Here they hear of its last seconds.
    if (left() < 10500 && !out.hidden) spoken.textContent = spoken.textContent || text.textContent;
  }
  // close is the script's. The main button and Escape close the dialog themselves.
  function close() {
    shown = "";
    dialog?.close();
  }
  function closed() {
    const was = shown;
    if (dialog.open) return; // it has been opened again since
    shown = "";
    if (was === "idle") stay(); // whoever presses a key is there
    if (was === "limit") dismissed = true;
    if (was === "hidden") check();
  }
  function inWords(milliseconds) {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    const [amount, unit] = seconds > 90 ? [Math.round(seconds / 60), "minute"] : [seconds, "second"];
    const format = (language) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(amount);
    try {
      return format(document.documentElement.lang || undefined);
    } catch { // no such language
      return format();
    }
  }

  // ---- What happens to the page ----

  let posted = false;
  addEventListener("submit", (event) => { posted = /post/i.test(event.target.getAttribute("method")); }, true);
  addEventListener("beforeunload", (event) => { // no "Leave site?" for a page that is gone
    if (leaving) event.stopImmediatePropagation();
  }, true);
  addEventListener("pagehide", () => {
    // A form may have logged out, and lead to a page that has no script to say so.
    if (posted) channel.postMessage({});
    posted = false;
    checks++; // no answer shows a page that has been left
    channel.close(); // an open one would keep the page out of the back/forward cache
    if (session !== "") hide();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    listen();
    if (session !== "") check();
  });
  const awake = () => (hidden ? check() : tick());
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") awake(); });
  addEventListener("online", awake);
  // An application that logs in or out without leaving the page says so.
  document.addEventListener("sessionguard:check", () => check());

  listen();
  if (session === undefined) check();
  else announce();
  setInterval(tick, 1000);
})();
