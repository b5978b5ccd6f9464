"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("data").textContent);
  const limits = [...document.querySelectorAll("#limits-form input")];
  const marked = [...document.querySelectorAll("[data-row]")];
  const chosen = document.getElementById("chosen");
  const tip = document.getElementById("tip");

  const digits = (value) => value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
  const scaled = (value, base, units) => {
    let unit = 0;
    for (; unit + 1 < units.length && value >= base; unit += 1) value /= base;
    return `${unit ? digits(value) : value.toFixed(0)} ${units[unit]}`.trim();
  };
  const written = {
    bytes: (value) => scaled(value, 1024, ["B", "KB", "MB", "GB"]),
    count: (value) => scaled(value, 1000, ["", "K", "M", "G"]),
    ms: (value) => `${value.toPrecision(3)} ms`,
  };
  const open = (input) => Number(input.value) >= Number(input.max);

  // A row without a figure that is limited does not fit.
  const fits = (row) => limits.every((input) => {
    const value = row.figures[input.dataset.figure];
    return open(input) || (value !== null && value <= Number(input.value));
  });

  const update = () => {
    const fitting = rows.map(fits);
    for (const element of marked) element.classList.toggle("out", !fitting[Number(element.dataset.row)]);
    for (const input of limits) {
      const output = document.querySelector(`output[for="${CSS.escape(input.id)}"]`);
      output.textContent = open(input) ? "no limit" : `at most ${written[input.dataset.unit](Number(input.value))}`;
    }
    const left = rows.filter((row, index) => fitting[index]);
    // Of equals the last, which has the lowest ranks.
    const known = left.filter((row) => row.accuracy !== null);
    const best = known.reduce((best, row) => best === null || row.accuracy >= best.accuracy ? row : best, null);
    document.body.dataset.fits = left.length;
    chosen.textContent = best
      ? `${left.length} of ${rows.length} runs fit; the most accurate is ${best.name} with ${(100 * best.accuracy).toFixed(2)} %`
      : left.length ? `${left.length} of ${rows.length} runs fit` : "no run fits";
    const set = limits.filter((input) => !open(input)).map((input) => `${input.dataset.figure}=${input.value}`);
    try {
      history.replaceState(null, "", set.length ? `#${set.join("&")}` : location.pathname);
    } catch {
      // A page opened from some places has no history to write.
    }
  };

  for (const [figure, value] of new URLSearchParams(location.hash.slice(1))) {
    const input = limits.find((input) => input.dataset.figure === figure);
    if (input) input.value = value;
  }
  for (const input of limits) input.addEventListener("input", update);
  document.getElementById("limits-form").addEventListener("submit", (event) => event.preventDefault());

  const names = [...document.querySelectorAll("#runs thead th")].map((head) => head.textContent);
  const show = (index, event) => {
    for (const element of marked) element.classList.toggle("on", Number(element.dataset.row) === index);
    tip.hidden = index < 0 || !event;
    if (tip.hidden) return;
    const cells = [...document.querySelectorAll(`#runs tbody tr[data-row="${index}"] > *`)];
    tip.replaceChildren(...cells.map((cell, at) => {
      const line = document.createElement("div");
      line.textContent = at ? `${names[at]}: ${cell.textContent}` : cell.textContent;
      return line;
    }));
    const left = Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8);
    const top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8);
    Object.assign(tip.style, { left: `${Math.max(left, 0)}px`, top: `${Math.max(top, 0)}px` });
  };
  for (const element of marked) {
    const index = Number(element.dataset.row);
    const point = element.closest("svg");
    element.addEventListener("mouseenter", (event) => show(index, point && event));
    element.addEventListener("mouseleave", () => show(-1));
  }
  update();
})();
