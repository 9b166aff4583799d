"use strict";
(() => {
  // Light or dark by hand.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  name();

  // The values of a chart where the pointer is.
  for (const plot of document.querySelectorAll("svg.plot")) {
    const lines = [...plot.querySelectorAll("[data-points]")].map(line => ({
      label: line.dataset.label,
      points: line.dataset.points.split(";").filter(Boolean).map(point => {
        const [x, y, step, value] = point.split("|");
        return { x: +x, y: +y, step, value };
      }),
    })).filter(line => line.points.length > 0).reverse();
    if (lines.length === 0) continue;
    const cursor = plot.querySelector(".cursor");
    const figure = plot.closest("figure");
    let tip = null;
    const hide = () => { if (tip) tip.remove(); tip = null; cursor.style.visibility = "hidden"; };
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("pointermove", event => {
      const box = plot.getBoundingClientRect();
      const scale = plot.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const near = lines.map(line => ({
        label: line.label,
        point: line.points.reduce((a, b) => Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a),
      }));
      const at = near.map(n => n.point).reduce((a, b) => Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a);
      cursor.setAttribute("transform", `translate(${at.x} 0)`);
      cursor.style.visibility = "visible";
      if (!tip) { tip = document.createElement("div"); tip.className = "tip"; figure.append(tip); }
      tip.replaceChildren();
      const step = document.createElement("div");
      step.textContent = `step ${at.step}`;
      tip.append(step);
      for (const n of near.filter(n => n.point.step === at.step)) {
        const row = document.createElement("div");
        const value = document.createElement("b");
        value.textContent = n.point.value;
        row.append(`${n.label} `, value);
        tip.append(row);
      }
      const frame = figure.getBoundingClientRect();
      const left = box.left - frame.left + at.x / scale;
      const beside = left + 14 + tip.offsetWidth > frame.width ? left - 14 - tip.offsetWidth : left + 14;
      tip.style.left = `${Math.max(4, beside)}px`;
      tip.style.top = `${box.top - frame.top + 26 / scale}px`;
    });
  }

  // A token's numbers under its response: pointed at, tapped, or reached with the arrow keys.
  for (const tokens of document.querySelectorAll(".tokens")) {
    const all = [...tokens.querySelectorAll(".t")];
    const out = tokens.parentElement.querySelector(".inspected");
    if (all.length === 0 || !out) continue;
    for (const token of all) { token.dataset.says = token.title; token.removeAttribute("title"); }
    let current = -1;
    const show = index => {
      if (current >= 0) all[current].classList.remove("on");
      current = index;
      if (current >= 0) all[current].classList.add("on");
      out.textContent = current >= 0 ? all[current].dataset.says : "";
    };
    tokens.addEventListener("pointerover", event => {
      const index = all.indexOf(event.target);
      if (index >= 0) show(index);
    });
    tokens.addEventListener("pointerleave", () => { if (document.activeElement !== tokens) show(-1); });
    tokens.addEventListener("click", event => {
      const index = all.indexOf(event.target);
      if (index >= 0) show(index);
    });
    tokens.addEventListener("focus", () => { if (current < 0) show(0); });
    tokens.addEventListener("blur", () => show(-1));
    tokens.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) {
        event.preventDefault();
        show(Math.min(all.length - 1, Math.max(0, current + step)));
      }
    });
  }

  // Paper shows everything.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
