// The server's clock, for as long as the session lasts.
(() => {
  "use strict";
  const clock = document.querySelector("#clock");
  const status = document.querySelector("#status");
  let source;

  // A status is spoken whenever it is set, also to what it was.
  function say(text) {
    if (status.textContent !== text) status.textContent = text;
  }
  // The guard script asks the server, and takes the page away if the session is over.
  function check() {
    document.dispatchEvent(new Event("sessionguard:check"));
  }

  function open() {
    source = new EventSource("/events");
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
      if (source.readyState === EventSource.CLOSED) { // it was refused
        say("The connection is cut. Reload the page to try again.");
        check();
      } else {
        say("The connection is cut. Trying again…");
      }
    });
  }

  open();
  // An open stream would keep the page out of the back/forward cache.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
})();
