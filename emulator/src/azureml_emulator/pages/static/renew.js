// Shows the page as it is now, every few seconds, and leaves the reader where they are: what they have scrolled,
// opened, focused and selected stays. A page that is over comes without this script, and then stays as it is.
"use strict";

(() => {
  const waitMs = 1000 * Number(document.currentScript.dataset.every);
  const chosen = new Map();
  const END_PX = 4;

  const kept = (root) => new Map([...root.querySelectorAll("[data-keep]")].map((one) => [one.dataset.keep, one]));
  const isAtEnd = (one) => one.scrollTop + one.clientHeight >= one.scrollHeight - END_PX;

  function focused() {
    const one = document.activeElement;
    if (one?.matches("main a[href]")) return `a[href="${CSS.escape(one.getAttribute("href"))}"]`;
    if (one?.matches("main summary")) return `[data-keep="${CSS.escape(one.parentElement.dataset.keep)}"] > summary`;
    return "";
  }

  function exchange(fresh) {
    const main = document.querySelector("main");
    const places = new Map([...kept(main)].map(([name, one]) => [name, [one.scrollLeft, one.scrollTop, isAtEnd(one)]]));
    const focus = focused();
    for (const [name, one] of kept(fresh)) if (chosen.has(name)) one.open = chosen.get(name);
    const adopted = document.adoptNode(fresh);
    main.replaceWith(adopted);
    for (const [name, one] of kept(adopted)) {
      const [left, top, atEnd] = places.get(name) ?? [0, 0, true];
      one.scrollTo(left, atEnd && one.matches("pre") ? one.scrollHeight : top);
    }
    if (focus) adopted.querySelector(focus)?.focus({ preventScroll: true });
  }

  async function renew() {
    if (document.hidden || !getSelection().isCollapsed) return true;
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    exchange(next.querySelector("main"));
    document.querySelector("nav").replaceWith(document.adoptNode(next.querySelector("nav")));
    document.title = next.title;
    return next.querySelector("script[data-every]") !== null;
  }

  async function again() {
    const away = document.querySelector("#away");
    let goesOn = true;
    try {
      goesOn = await renew();
      away.hidden = true;
    } catch {
      away.hidden = false;
    }
    if (goesOn) setTimeout(again, waitMs);
  }

  document.addEventListener("click", (event) => {
    const details = event.target.closest("summary")?.parentElement;
    if (details) chosen.set(details.dataset.keep, !details.open);
  });
  for (const one of document.querySelectorAll("pre[data-keep]")) one.scrollTo(0, one.scrollHeight);
  setTimeout(again, waitMs);
})();
