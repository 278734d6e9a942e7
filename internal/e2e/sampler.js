// Runs in every page, and looks on every frame whether the secret is on screen,
// as a person would: once is enough to have seen it. The results are in
// localStorage, which outlives the page.
(() => {
  const root = document.documentElement;

  // Not body: the innerText of an element that is not rendered is its hidden
  // text too.
  const visible = (text) =>
    root.checkVisibility({ opacityProperty: true }) && root.innerText.includes(text);

  const append = (name, value) => {
    const list = JSON.parse(localStorage[name] ?? "[]");
    localStorage[name] = JSON.stringify([...list, value]);
  };

  // Frames only while somebody watches: a page that draws all the time slows
  // down every other browser on the machine.
  let counted = false;
  let pending;
  const sample = () => {
    if (localStorage.watch !== "on") return;
    pending = requestAnimationFrame(sample);
    if (!localStorage.secret || !visible(localStorage.secret)) return;
    localStorage.leaked = Number(localStorage.leaked ?? 0) + 1;
    if (!counted) append("leakedAt", location.pathname);
    counted = true;
  };
  const start = () => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(sample);
  };
  start();
  addEventListener("watch", start); // from this page's test
  addEventListener("storage", start); // or that of another tab
  // The callback that is pending in the back/forward cache looks at the first
  // frame after it.
  addEventListener("pagehide", start);

  addEventListener("pageshow", (event) => {
    append("shows", { path: location.pathname, persisted: event.persisted });
    if (!event.persisted) return;
    counted = false;
    start(); // or it does not survive there: either way there is one loop
  });
})();
