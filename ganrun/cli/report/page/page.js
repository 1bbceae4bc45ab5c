"use strict";
document.documentElement.classList.remove("plain");

for (const figure of document.querySelectorAll("[data-steered]")) {
  const frames = [...figure.querySelectorAll(".frames > div")];
  const slider = figure.querySelector("input[type=range]");
  const told = figure.querySelector("output");
  const play = figure.querySelector("button");
  let timer = 0;
  const show = () => {
    const place = Number(slider.value);
    frames.forEach((frame, index) => frame.classList.toggle("shown", index === place));
    told.textContent = frames[place].dataset.name;
    slider.setAttribute("aria-valuetext", frames[place].dataset.name);
  };
  const rest = () => {
    window.clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  slider.addEventListener("input", () => { rest(); show(); });
  play.addEventListener("click", () => {
    if (timer) { rest(); return; }
    if (Number(slider.value) === frames.length - 1) slider.value = "0";
    show();
    play.textContent = "Stop";
    timer = window.setInterval(() => {
      if (Number(slider.value) >= frames.length - 1) { rest(); return; }
      slider.value = String(Number(slider.value) + 1);
      show();
    }, 600);
  });
  show();
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const number = Number(cell.dataset.value);
    return cell.dataset.value !== undefined && cell.dataset.value !== "" && !Number.isNaN(number) ? number : null;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const rows = [...body.rows];
      rows.sort((one, other) => {
        const a = key(one, column), b = key(other, column);
        if (a !== null && b !== null) return sign * (a - b);
        if (a !== null || b !== null) return a === null ? 1 : -1;
        return sign * one.cells[column].textContent.localeCompare(other.cells[column].textContent, undefined, { numeric: true });
      });
      rows.forEach((row) => body.appendChild(row));
    });
  });
}
