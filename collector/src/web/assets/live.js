// Keeps live parts of a page up to date. Pages are complete without it.
"use strict";

// Makes `old` equal to `fresh` by as few changes as there are, so that focus, selection and scrolling stay where they are.
function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) {
    // What a person has opened stays open.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
    if (!same) {
      old.insertBefore(child, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    renew(same, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

for (const part of document.querySelectorAll("[data-live]")) {
  const source = part.dataset.live;
  const state = document.querySelector(`[data-state-of="${CSS.escape(source)}"]`);
  const say = (text) => {
    if (state && state.textContent !== text) state.textContent = text;
  };
  const events = new EventSource(source);
  events.addEventListener("piece", (event) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = event.data;
    renewChildren(part, fresh.content);
    say("Live: changes appear here by themselves.");
  });
  events.addEventListener("over", () => {
    events.close();
    say("Over: nothing changes any more.");
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) say("Not live any more: load the page again.");
    else say("The collector does not answer: trying again.");
  });
}
