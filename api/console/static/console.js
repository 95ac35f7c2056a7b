// What every page does: times in the reader's own zone, questions before deletions, lists that keep themselves fresh.

import { dress, put } from "./shared.js";

function listen() {
  for (const form of document.querySelectorAll("form[data-ask]")) {
    form.addEventListener("submit", (event) => {
      if (!confirm(form.dataset.ask)) event.preventDefault();
    });
  }
  for (const form of document.querySelectorAll("form[data-typed]")) {
    const button = form.querySelector("button");
    const field = form.querySelector("input[name=typed]");
    const check = () => { button.disabled = field.value.trim() !== form.dataset.typed.trim(); };
    field.addEventListener("input", check);
    check();
  }
  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.querySelector(button.dataset.copy).textContent);
      button.textContent = button.dataset.copied;
    });
  }
  for (const link of document.querySelectorAll("a[data-subject]")) {
    // The name of a person goes by the browser's own memory of this tab, not by the address.
    link.addEventListener("click", () => sessionStorage.setItem("lookalike.subject", link.dataset.subject));
  }
  // On a narrow screen the tabs scroll: the one that is open is brought into view.
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.querySelector("#made-area")?.focus();
}

async function refresh(area) {
  const busy = () => area.querySelector("[data-state=running], [data-state=queued]");
  for (;;) {
    await new Promise((done) => setTimeout(done, busy() ? 1500 : 10000));
    if (document.hidden || area.contains(document.activeElement)) continue;
    try {
      const response = await fetch(area.dataset.fresh);
      if (response.redirected || !response.ok) return;
      put(area, await response.text());
    } catch {
      // The next round tries again.
    }
  }
}

dress(document);
listen();
const fresh = document.querySelector("[data-fresh]");
if (fresh) refresh(fresh);
