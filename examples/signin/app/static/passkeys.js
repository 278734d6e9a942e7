// Fills in forms that send a passkey's answer: fetches the options, asks the browser, submits.
(() => {
  "use strict";

  async function answer(form) {
    const response = await fetch(form.dataset.options, { method: "POST" });
    if (response.status === 401) {
      // The login is too old by now, or has ended. The page itself leads to what is missing.
      location.reload();
      return null;
    }
    if (!response.ok) throw new Error(await response.text());
    const { publicKey } = await response.json();
    return form.dataset.passkey === "create"
      ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
      : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  }

  function message(error) {
    switch (error.name) {
      case "NotAllowedError": return "No passkey was used. Try again, or choose another way.";
      case "InvalidStateError": return "You have registered this one already.";
      default: return "This did not work: " + error.message;
    }
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const problem = form.querySelector("[role=alert]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      problem.hidden = true;
      try {
        const credential = await answer(form);
        if (!credential) return;
        form.elements.credential.value = JSON.stringify(credential);
        form.submit(); // which is no submit event
      } catch (error) {
        problem.textContent = message(error);
        problem.hidden = false;
      }
    });
  }
})();
