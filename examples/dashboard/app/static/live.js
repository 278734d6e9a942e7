// Shows the server's clock for as long as the session lasts.
(() => {
  "use strict";
  const clock = document.querySelector("#clock");
  const status = document.querySelector("#status");
  let source;
  // Next to the directory of this script, also where a proxy removes a prefix from the path.
  const events = new URL("../events", document.currentScript.src);

  // Screen readers announce a status whenever it is set, even to the same text.
  function say(text) {
    if (status.textContent !== text) status.textContent = text;
  }
  // The guard script asks the server, and leaves the page if the session has ended.
  function check() {
    document.dispatchEvent(new Event("sessionguard:check"));
  }

  function open() {
    source = new EventSource(events);
    source.addEventListener("time", ({ data }) => {
      clock.dateTime = data;
      clock.textContent = data.slice(11, 19);
      say("Connected.");
    });
    source.addEventListener("ended", () => {
      source.close();
      say("Your session has ended.");
      check();
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) { // the server refused it
        say("The connection was lost. Reload the page to try again.");
        check();
      } else {
        say("The connection was lost. Trying again…");
      }
    });
  }

  open();
  // An open stream keeps the page out of the back/forward cache.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
})();
