"use strict";
// Films play while they are in view; controls appear where one points at them. Who prefers less motion starts them by hand.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) target.play().catch(() => { target.controls = true; });
    else target.pause();
  }
}, { threshold: 0.4 });
if (still) for (const film of document.querySelectorAll("video[autoplay]")) { film.autoplay = false; film.pause(); }
for (const film of document.querySelectorAll("video")) {
  film.loop = true;
  if (still) continue;
  film.controls = false;
  film.tabIndex = 0;
  for (const event of ["pointerenter", "focus"]) film.addEventListener(event, () => { film.controls = true; });
  for (const event of ["pointerleave", "blur"]) film.addEventListener(event, () => { film.controls = false; });
  seen.observe(film);
}
const button = document.querySelector(".command button");
if (button && navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector(".command code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
