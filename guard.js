// The guard script takes a page off the screen when the session it was made for
// ends. It makes no security decisions; the server makes them, on every request.
// Guard.Script in the Go package documents what it does and how to include it.
(() => {
  "use strict";

  // <img name=body> takes the place of document.body, <img id=addEventListener> that of the
  // window's method, and a form's field that of the form's own ("DOM clobbering"). So all
  // three are used by their prototypes, which no element can change.
  const page = new Proxy(Document.prototype, {
    get: (prototype, name) => Reflect.get(prototype, name, document),
    set: (prototype, name, value) => Reflect.set(prototype, name, value, document),
  });
  // Whatever throws leaves the page, which nothing else might hide.
  const safe = (run) => (argument) => {
    try {
      run(argument);
    } catch (error) {
      leave();
      throw error;
    }
  };
  const on = (target, type, run) =>
    page.addEventListener.call(target, type, safe(run), { capture: true, passive: true });

  // Where pages come without loading a document (Turbo, htmx), each may run the script again.
  const script = page.currentScript;
  const running = Symbol.for("sessionguard"), arrival = { detail: script?.dataset.session };
  if (document[running]) return page.dispatchEvent.call(document, new CustomEvent("sessionguard:check", arrival));
  document[running] = true;

  const source = script.src; // as it is now: a <base> that follows would change it
  const option = (name, fallback) => script.dataset[name] ?? fallback;
  const duration = (name, fallback) => {
    const seconds = parseFloat(option(name));
    return 1000 * (seconds >= 0 ? seconds : fallback);
  };
  // The server's endpoints are beside the script.
  const endpoint = (name) => new URL(name, source).href;

  // ---- The time left ----

  // The public ID of the session that the page was made for, "" for a visitor's
  // page, or undefined while it is unknown.
  let session = option("session");
  // The milliseconds left until each timeout when the server was last asked, at `at`.
  let status = { idle: duration("idleSeconds", 0), absolute: duration("absoluteSeconds", 0), at: pageRequested() };
  let maxIdle = status.idle; // the largest seen, which is close to the idle timeout

  // Two clocks measure elapsed time, and the larger value counts: the monotonic clock
  // may stop while the machine sleeps, and the wall clock may be set back. Acting too
  // early costs one request; too late would leave an ended session's page visible.
  function now() { return { steady: performance.now(), wall: Date.now() }; }
  const never = { steady: -Infinity, wall: -Infinity };
  function since(at) { return Math.max(performance.now() - at.steady, Date.now() - at.wall); }
  // The status in the page itself cannot be older than the request for the page.
  function pageRequested() {
    const steady = performance.getEntriesByType("navigation")[0]?.requestStart ?? 0;
    return { steady, wall: performance.timeOrigin + steady };
  }
  function left() { return status.idle - since(status.at); }
  function atLimit() { return status.idle >= status.absolute; } // activity no longer postpones the end
  function warnFrom() { return Math.min(duration("warn", 60), maxIdle / 3); } // time left when the warning opens

  // learn takes the server's status, which this page or another tab requested.
  function learn(latest) {
    status = latest;
    maxIdle = Math.max(maxIdle, status.idle);
    if (left() > warnFrom()) { // extended, so no warning is due
      asked = 0;
      dismissed = false;
      failed = "";
      if (shown !== "hidden") close();
    }
  }

  // tick runs every second: a single long timer would stop while the machine sleeps.
  let asked = 0; // once before warning, once in time for a response before the end
  let dismissed = false; // the user closed the absolute timeout's warning
  function tick() {
    if (hidden || session === undefined) {
      const waited = since(lastCheck);
      if (hidden) cover();
      if (hidden && waited > 900) open("hidden");
      // The server rounds down to seconds: 0 left ends within one. Otherwise a retry
      // waits until the last request has timed out.
      if (waited > (hidden && !status.idle ? 900 : 6000) && !leaving) check();
      return;
    }
    if (!session) return; // a visitor's page
    const poll = duration("poll", 60);
    if (left() <= 0) {
      hide();
      check();
    } else if (left() > warnFrom()) {
      const visible = page.visibilityState === "visible";
      if (poll && visible && since(status.at) > poll && since(lastCheck) > poll) check();
    } else if (since(lastActivity) < 5000 && !staying && !failed && !atLimit()) {
      stay();
    } else if (!staying && left() <= [warnFrom(), Math.min(5000, warnFrom() / 2)][asked]) {
      asked++; // activity elsewhere, or an upload, may have extended the session
      check();
    } else if (!dismissed && !staying) {
      open(atLimit() ? "limit" : "idle");
    }
  }

  // ---- Asking the server ----

  let checks = 0; // only the response to the latest one counts
  let answered = 0; // the latest one with a response
  let wanted = false; // another one is, after that
  let lastCheck = now();
  function check(name = "status", method = "GET") {
    wanted = false;
    if (leaving) return leave(); // the navigation may have failed
    lastCheck = now();
    const id = ++checks;
    fetchStatus(name, method).then(safe((latest) => {
      if (id !== checks || leaving) return;
      answered = id;
      staying = false;
      if (method === "POST") failed = latest?.session ? "" : option("failed", "The server did not answer, please try again.") + " ";
      if (!latest) return;
      // The browser may prove its device in a moment, and the session lives. So a page on the
      // screen takes that for no answer, unless the server has sent it away already.
      if (latest.unproven) return (hidden || (landing && session !== "")) && leave();
      session ||= latest.session; // first known on a static page, or after a login by fetch
      if (latest.session !== session) return leave();
      landing = "";
      learn(latest);
      announce();
      if (session && left() <= 0) return hide();
      show();
      tick();
    })).then(next);
  }
  // ask checks after an event that may be a login or logout. Many events at once cause one
  // request, and those that follow another one, which they cannot keep from its response.
  // After ten requests there is one a second: an event may be dispatched for every request.
  function ask() {
    wanted = true;
    setTimeout(next);
  }
  let asks = 0; // every second, one less
  const next = safe(() => {
    if (!wanted || answered !== checks || asks >= 10) return;
    asks++;
    check();
  });
  // glance is for events that are no sign of that, and may be many.
  function glance() {
    if (leaving || !session || since(lastCheck) > 5000) ask();
  }

  // fetchStatus returns undefined unless the response is a valid status. While a form is being
  // sent from the page, WebKit (2.50) lets only a request with keepalive through.
  async function fetchStatus(name, method) {
    const at = now();
    try {
      const response = await fetch(endpoint(name), {
        method, cache: "no-store", redirect: "error", keepalive: true, signal: AbortSignal.timeout(5000),
      });
      const body = response.ok ? await response.json() : {};
      if (body.authenticated === false) return { session: "", idle: 0, absolute: 0, at, unproven: body.reason === "device_unproven" };
      const idle = 1000 * body.idle_seconds, absolute = 1000 * body.absolute_seconds;
      if (body.session && idle >= 0 && absolute >= idle) return { session: body.session, idle, absolute, at };
    } catch {
      // Offline, timed out, or an intermediary's page: the state is unknown.
    }
  }

  // stay reports activity to the server, which extends the session.
  let staying = false; // its request has no response yet
  let failed = ""; // the dialog's error text if the last one failed
  function stay() {
    staying = true;
    lastStay = now();
    check("stay", "POST");
  }

  // Input counts as activity only on a page that opts in. Events dispatched by scripts
  // do not count, nor do pointer events caused by a page moving under a resting pointer.
  // At most one report a minute is sent, and input in between is dropped, except that
  // tick reports input of the last five seconds instead of warning. So a session may
  // end up to a minute early, never late.
  let lastActivity = never;
  let lastStay = pageRequested();
  function act(event) {
    if (!event.isTrusted || !session || hidden || shown || left() <= 0) return;
    if (event.type === "pointermove" && !event.movementX && !event.movementY) return;
    lastActivity = now();
    const sinceReport = Math.min(since(lastStay), maxIdle - left()); // this tab's, or any tab's
    if (sinceReport > 60000 && !staying && !atLimit()) stay();
  }
  if (option("activity", "off") !== "off") {
    for (const type of ["keydown", "pointerdown", "pointermove", "wheel", "touchmove"]) {
      on(window, type, act);
    }
  }

  // ---- Other tabs ----

  let channel;
  function listen() {
    channel = new BroadcastChannel("sessionguard " + endpoint("."));
    channel.onmessage = safe(({ data }) => {
      if (!session) return; // a visitor's page has nothing to hide
      if (data.session === session) {
        const { wall } = data.at;
        if (wall >= status.at.wall) learn({ ...data, at: { steady: performance.now(), wall } });
      } else {
        if (data.session !== undefined) hide(); // {} only asks for a check
        check();
      }
    });
  }
  function announce() {
    channel.postMessage({ ...status, session });
  }

  // ---- Off the screen and back ----

  // Two rules hide the page. They set display, because with visibility any descendant
  // could make itself visible again. The adopted sheet is exempt from CSP and also hides
  // a body that replaces this one; #_#_#_ matches nothing and adds the specificity of
  // three IDs. The body's inline style overrides all !important rules of the page's sheets.
  // A transition of the page, with allow-discrete, would delay display. A view transition
  // shows a picture of the page above everything else.
  const blank = new CSSStyleSheet();
  blank.replaceSync(":root > :not(sessionguard-dialog, #_#_#_) { display: none !important; transition-property: none !important }");
  const bodies = new Map(); // with their own inline style, to be restored
  let hidden = null; // while the page is hidden, the state to restore
  function hide() {
    hidden ??= { left: scrollX, top: scrollY, behavior: "instant", focus: page.activeElement, title: page.title };
    cover();
  }
  // tick repeats cover, because the page's scripts may undo it or replace the body.
  function cover() {
    const body = page.body, style = body?.style;
    if (body && !bodies.has(body)) {
      const names = ["display", "transition-property"];
      bodies.set(body, names.map((name) => [name, style.getPropertyValue(name), style.getPropertyPriority(name)]));
      for (const name of names) style.setProperty(name, "none", "important");
    }
    page.activeViewTransition?.skipTransition();
    if (!page.adoptedStyleSheets.includes(blank)) page.adoptedStyleSheets = [...page.adoptedStyleSheets, blank];
  }
  function show() {
    if (!hidden) return;
    const was = hidden;
    hidden = null;
    close();
    page.adoptedStyleSheets = page.adoptedStyleSheets.filter((sheet) => sheet !== blank);
    bodies.forEach((styles, body) => styles.forEach((was) => body.style.setProperty(...was)));
    bodies.clear();
    page.title = was.title;
    if (was.focus) Reflect.get(Object.getPrototypeOf(was.focus), "focus").call(was.focus, { preventScroll: true });
    scrollTo(was);
  }

  // leave removes the content of a page whose session has ended (OWASP ASVS 14.3.1).
  // The server decides where to go next. It does not learn the fragment, which may be a
  // secret, and which may not be for whoever logs in next.
  let leaving = false;
  let departure = never; // when the last navigation began, which another one would cancel
  let landing = ""; // where the server has sent the page, without loading a document
  function leave() {
    const first = !leaving;
    leaving = true;
    try {
      hide();
      page.body?.replaceChildren();
      forget();
      if (first) channel?.postMessage({}); // the other tabs check
    } finally {
      const query = new URLSearchParams({ next: option("next", location.pathname + location.search) });
      if (left() <= 0) query.set("reason", atLimit() ? "absolute" : "idle");
      if (since(departure) > 10000) {
        departure = now();
        location.replace(landing || endpoint("resume?" + query));
      }
    }
  }

  // forget removes the copies of pages that htmx keeps for Back, and which would outlive the
  // session. Turbo's are in the memory of the document that leave ends.
  function forget() {
    try {
      for (const storage of [sessionStorage, localStorage]) {
        for (const key of Object.keys(storage)) if (key.startsWith("htmx-history")) storage.removeItem(key);
      }
    } catch {} // where storage is turned off
  }

  function logOut() {
    leaving = submitted = true;
    hide();
    const action = endpoint(option("logout", "logout"));
    element("form", host.shadowRoot, { method: "post", action, target: "_self" }).submit();
    departure = now();
  }

  // ---- The dialog ----

  // Each kind of dialog has a title, a text and a label for its main button.
  const texts = {
    idle: ["Are you still there?", "You will be logged out in {time}. What you have not saved will be lost.", "Stay signed in"],
    limit: ["Your session is about to end", "You will be logged out in {time}, however active you are. Save your work, then log in again.", "Continue"],
    hidden: ["Checking your session", "This page is hidden until the server confirms that you are still logged in.", "Try again"],
  };
  let host, dialog, title, text, mainButton, logOutButton, spoken;
  let shown = ""; // the kind that is open, if any

  function element(name, parent, properties) {
    return parent.appendChild(Object.assign(page.createElement.call(document, name), properties));
  }
  function build() {
    host = page.createElement.call(document, "sessionguard-dialog");
    const style = new CSSStyleSheet();
    // A page may hide whatever is not :defined. In a shadow tree !important is stronger.
    style.replaceSync(`
      :host { all: initial !important; color-scheme: inherit !important }
      dialog {
        box-sizing: border-box; width: min(28rem, 100% - 2rem); max-width: none; padding: clamp(1rem, 5vw, 1.5rem);
        font: 1rem/1.5 var(--sessionguard-font, system-ui, sans-serif); overflow-wrap: break-word;
        color: var(--sessionguard-color, CanvasText); background: var(--sessionguard-background, Canvas);
        border: 1px solid var(--sessionguard-border, GrayText); border-radius: var(--sessionguard-radius, 12px);
      }
      ::backdrop { background: var(--sessionguard-backdrop, rgb(0 0 0 / .5)) }
      h2 { margin: 0 0 .5rem; font-size: 1.25rem; line-height: 1.3 }
      p { margin: 0 0 1rem }
      div { display: flex; flex-wrap: wrap; gap: .5rem }
      button {
        flex: auto; min-height: 2.75rem; padding: .5rem; cursor: pointer;
        font: inherit; font-weight: 600; color: inherit; background: none;
        border: 1px solid; border-radius: min(8px, var(--sessionguard-radius, 8px));
      }
      .main { border-color: transparent; color: var(--sessionguard-accent-color, #fff); background: var(--sessionguard-accent, #0b5cad) }
      button:focus-visible { outline: 2px solid var(--sessionguard-color, CanvasText); outline-offset: 2px }
      [hidden] { display: none }
      .spoken { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }
    `);
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    dialog = element("dialog", root, { onclose: safe(closed) });
    dialog.setAttribute("role", "alertdialog");
    dialog.setAttribute("aria-labelledby", "title");
    dialog.setAttribute("aria-describedby", "text");
    title = element("h2", dialog, { id: "title" });
    text = element("p", dialog, { id: "text" });
    spoken = element("p", dialog, { className: "spoken" });
    spoken.setAttribute("role", "alert");
    const buttons = element("div", dialog);
    mainButton = element("button", buttons, { className: "main", onclick: () => dialog.close() });
    logOutButton = element("button", buttons, { textContent: option("out", "Log out"), onclick: safe(logOut) });
  }

  function open(kind) {
    if (!dialog) build();
    if (!host.isConnected) { // new, or removed by the page
      close();
      page.documentElement.append(host);
    }
    const [heading, message, label] = ["Title", "Text", "Button"].map((part, i) => option(kind + part, texts[kind][i]));
    title.textContent = heading;
    text.textContent = failed + message.replace("{time}", inWords(left()));
    if (shown !== kind) {
      shown = kind;
      mainButton.textContent = label;
      logOutButton.hidden = kind === "hidden";
      spoken.textContent = "";
      if (hidden) page.title = heading; // the page's title may be private too
      if (!dialog.open) dialog.showModal();
      mainButton.focus();
    }
    // Screen readers read the dialog when it opens. This announces the last ten seconds.
    if (left() < 10500 && !logOutButton.hidden) spoken.textContent ||= text.textContent;
  }
  // close is for the script and has no effect besides. The main button and Escape close
  // the dialog directly, and closed then acts for the user.
  function close() {
    shown = "";
    dialog?.close();
  }
  function closed() {
    const was = shown;
    if (dialog.open) return; // the event is asynchronous, and the dialog was reopened
    shown = "";
    if (was === "idle") stay(); // closing it is activity
    if (was === "limit") dismissed = true;
    if (was === "hidden") check();
  }
  function inWords(milliseconds) {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    const [amount, unit] = seconds > 90 ? [Math.round(seconds / 60), "minute"] : [seconds, "second"];
    const format = (language) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(amount);
    try {
      return format(page.documentElement.lang || undefined);
    } catch { // lang is not a valid language tag
      return format();
    }
  }

  // ---- The page's events ----

  // Every submission of a form fires formdata, also that by form.submit(), which fires no
  // submit. It may be a logout, whatever the form and the button say about the method. The
  // event does not leave a shadow tree. There navigate tells; without it (WebKitGTK 2.50),
  // other tabs check whenever a page is left.
  let submitted = false;
  let link; // where the user has gone, unless with a form
  on(window, "formdata", () => (submitted = true));
  const navigates = Object.hasOwn(window, "navigation");
  if (navigates) on(navigation, "navigate", ({ formData, userInitiated, destination }) => {
    if (formData) submitted = true;
    link = userInitiated && !formData ? destination.url : "";
  });
  // A view transition shows a picture of this page on the next one, which may follow a
  // logout. It remains for a link without a redirect, such as a gate's to the login.
  on(window, "pageswap", ({ activation, viewTransition }) => {
    if (session !== "" && (hidden || link !== activation?.entry.url)) viewTransition?.skipTransition();
  });
  on(window, "beforeunload", (event) => { // no "Leave site?" prompt: the content is gone
    if (leaving) event.stopImmediatePropagation();
  });
  on(window, "pagehide", () => {
    if (session !== "") hide();
    answered = ++checks; // a late response must not show the page again
    // A logout may lead to a page without the script to announce it, so ask the other
    // tabs to check.
    if (submitted || !navigates) channel.postMessage({});
    if (submitted) forget();
    submitted = false;
    departure = never;
    channel.close(); // an open one keeps the page out of the back/forward cache
  });
  on(window, "pageshow", (event) => {
    if (!event.persisted) return;
    listen();
    if (session !== "") check();
  });
  // Since the page was prerendered, its session may have ended.
  on(document, "prerenderingchange", () => {
    if (session === "") return;
    hide();
    check();
  });
  const wake = () => (hidden ? check() : tick());
  on(document, "visibilitychange", () => { if (page.visibilityState === "visible") wake(); });
  on(window, "online", wake);

  // ---- Pages and parts of pages that come without loading a document ----

  // Whatever an event says, the server decides, also if reading what it says throws.
  const heed = (type, run) => on(document, type, (event) => {
    try {
      run(event);
    } catch {
      ask();
    }
  });
  // land notes where the server has sent a page or part.
  function land(url) {
    try {
      const { origin, href } = new URL(url);
      if (origin === location.origin) landing = href.split("#")[0];
    } catch {} // it is none
  }
  // Applications dispatch this after a login or logout, and this script when it runs again.
  heed("sessionguard:check", ({ detail }) => {
    if (detail === session) return glance();
    if (detail === "") land(location.href); // a visitor's page
    session ||= typeof detail === "string" ? detail : undefined;
    ask();
  });
  on(document, "turbo:load", () => { if (page.readyState === "complete") glance(); }); // not the document's own
  on(document, "turbo:submit-end", ask);
  heed("turbo:before-fetch-response", ({ detail }) => {
    const response = detail?.fetchResponse;
    if (response?.redirected) land(response.location);
    if (response?.redirected || response?.statusCode === 401) ask();
  });
  for (const type of ["htmx:afterRequest", "htmx:after:request"]) { // of htmx 2 and 4
    heed(type, ({ detail }) => {
      const { requestConfig, xhr, ctx } = Object(detail);
      const method = requestConfig?.verb ?? ctx?.request?.method, response = xhr ?? ctx?.response;
      if (/^get$/i.test(method) && response?.status !== 401) return glance();
      submitted = true;
      if (!(xhr?.getResponseHeader?.("HX-Redirect") ?? ctx?.hx?.redirect)) ask(); // else htmx leaves the page
    });
  }
  on(window, "popstate", glance);

  listen();
  if (session === "") forget();
  // In a document that is loaded, the age of the script element is unknown.
  if (session === undefined || page.readyState === "complete") check();
  else if (!option("unproven")) announce();
  setInterval(safe(() => {
    asks &&= asks - 1;
    next();
    tick();
  }), 1000);
})();
