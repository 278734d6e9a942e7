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

  let counted = false;
  let pending;
  const sample = () => {
    pending = requestAnimationFrame(sample);
    if (localStorage.watch !== "on" || !localStorage.secret || !visible(localStorage.secret)) return;
    localStorage.leaked = Number(localStorage.leaked ?? 0) + 1;
    if (!counted) append("leakedAt", location.pathname);
    counted = true;
  };
  pending = requestAnimationFrame(sample);

  addEventListener("pageshow", (event) => {
    append("shows", { path: location.pathname, persisted: event.persisted });
    if (!event.persisted) return;
    // The callback that was pending survives in the back/forward cache, or it
    // does not: either way there is one loop, and another visit to count.
    cancelAnimationFrame(pending);
    counted = false;
    pending = requestAnimationFrame(sample);
  });
})();
