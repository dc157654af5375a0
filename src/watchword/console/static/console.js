// SPDX-License-Identifier: Apache-2.0
// Every page works without this. With it, commands can be copied and a page shows what changed meanwhile.
"use strict";

(() => {
  const notice = document.getElementById("changed");

  const say = (text) => {
    if (notice) notice.textContent = text;
  };

  const addCopyButtons = (root) => {
    for (const block of root.querySelectorAll(".command")) {
      const code = block.querySelector("code");
      if (!code || !navigator.clipboard) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy the command: ${block.querySelector("p")?.textContent ?? ""}`);
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not copied";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      block.append(button);
    }
  };

  // What a person is in the middle of is not taken from under them.
  const isBusy = (main) =>
    main.contains(document.activeElement) && document.activeElement !== main
    || Boolean(String(document.getSelection()))
    || main.querySelector("details[open]") !== null;

  const showAgain = async () => {
    const main = document.getElementById("main");
    if (isBusy(main)) {
      offer();
      return;
    }
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) {
      // What is shown is old then, and no longer silently so.
      offer();
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("main");
    if (!fresh) return;
    addCopyButtons(fresh);
    main.replaceWith(fresh);
    document.querySelector("footer")?.replaceWith(page.querySelector("footer"));
    say("");
  };

  const offer = () => {
    if (!notice || notice.firstChild) return;
    const again = document.createElement("a");
    again.href = location.href;
    again.textContent = "Something changed. Show it";
    notice.replaceChildren(again);
  };

  addCopyButtons(document);
  let { known } = document.body.dataset;
  let stream = null;

  // A browser has six connections for a host. So only a page that is looked at holds one.
  const listen = () => {
    const isSeen = document.visibilityState === "visible";
    if (stream && !isSeen) {
      stream.close();
      stream = null;
    } else if (!stream && isSeen) {
      stream = new EventSource(`/events?known=${encodeURIComponent(known)}`);
      stream.addEventListener("message", (event) => {
        known = event.data;
        showAgain().catch(() => offer());
      });
    }
  };

  if (known && document.body.dataset.live && window.EventSource) {
    document.addEventListener("visibilitychange", listen);
    addEventListener("pagehide", () => stream?.close());
    listen();
  }
})();
