// The sampler runs in every page and checks on every animation frame whether the secret
// is visible: a single frame is a leak. The results are in localStorage, which outlives
// the page.
(() => {
  const root = document.documentElement;

  // The root element, not body: the innerText of an element that is not rendered
  // includes its hidden text.
  const visible = (text) =>
    root.checkVisibility({ opacityProperty: true }) && root.innerText.includes(text);

  const append = (name, value) => {
    const list = JSON.parse(localStorage[name] ?? "[]");
    localStorage[name] = JSON.stringify([...list, value]);
  };

  // Frames are requested only while a test watches: a page that draws all the time
  // slows down every other browser on the machine.
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
  addEventListener("watch", start); // from the test, in this page
  addEventListener("storage", start); // or in another tab
  // A callback that is pending while the page is in the back/forward cache checks the
  // first frame after the page is restored.
  addEventListener("pagehide", start);

  addEventListener("pageshow", (event) => {
    append("shows", { path: location.pathname, persisted: event.persisted });
    if (!event.persisted) return;
    counted = false;
    start(); // in case the callback did not survive; start keeps a single loop
  });
})();
