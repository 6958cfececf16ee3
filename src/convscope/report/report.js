"use strict";
// Without this script everything can be read; only the switch of methods and the slider need it.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // An address may be typed, or cut in two by a mail program.
  const decoded = text => {
    try { return decodeURIComponent(text); } catch { return text; }
  };

  // A link to a collapsed section opens it before the browser goes there.
  const reveal = hash => {
    const place = hash.length > 1 && document.getElementById(decoded(hash.slice(1)));
    if (!place) return null;
    const own = place.matches("section") ? place.querySelector("details") : null;
    if (own) own.open = true;
    for (let one = place.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
    return place;
  };
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']");
    if (link) reveal(link.hash);
  });
  addEventListener("hashchange", () => reveal(location.hash));
  const place = reveal(location.hash);
  if (place) place.scrollIntoView();

  document.querySelectorAll("[data-choose]").forEach(button => {
    button.addEventListener("click", () => {
      const section = button.closest("section");
      section.querySelectorAll("[data-method]").forEach(one => {
        one.hidden = one.dataset.method !== button.dataset.choose;
      });
      section.querySelectorAll("[data-choose]").forEach(one => {
        one.setAttribute("aria-pressed", String(one === button));
      });
    });
  });

  // From the photo alone over both to the map alone: first the map appears, then the photo vanishes.
  const sliders = document.querySelectorAll("input.strength");
  const show = value => {
    root.style.setProperty("--map", Math.min(1, value / 50));
    root.style.setProperty("--photo", Math.min(1, 2 - value / 50));
    root.style.setProperty("--gray", Math.min(1, value / 50));
    sliders.forEach(one => { one.value = value; });
  };
  sliders.forEach(one => one.addEventListener("input", () => show(Number(one.value))));

  addEventListener("beforeprint", () => {
    document.querySelectorAll("section > details").forEach(one => { one.open = true; });
  });
})();
