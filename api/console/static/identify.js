// Asks who, or what, is in a picture, draws the answer's boxes on it, and puts each face beside its candidates.

import { failure, put, send, shape, takesFiles } from "./shared.js";

const area = document.querySelector("#identify");
const at = (id) => document.getElementById(id);
const probe = at("probe");
const found = at("found");
const draws = area.dataset.draw === "yes";
let file = null;
let asked = 0;

takesFiles(at("drop"), at("files"), (files) => files.length && open(files[0]));

async function open(chosen) {
  file = chosen;
  if (probe.src) URL.revokeObjectURL(probe.src);
  probe.src = URL.createObjectURL(file);
  at("viewer").hidden = false;
  at("frame").replaceChildren();
  if (draws) at("drawing").hidden = false;
  try {
    await probe.decode();
    at("frame").setAttribute("viewBox", `0 0 ${probe.naturalWidth} ${probe.naturalHeight}`);
  } catch {
    at("viewer").hidden = true; // It is no picture to this browser; the service says what is wrong with it.
  }
  if (draws) setBox(null);
  ask(null);
}

async function ask(box) {
  const mine = (asked += 1);
  found.setAttribute("aria-busy", "true");
  found.textContent = area.dataset.looking;
  const body = new FormData();
  body.append("image", file, file.name);
  if (box) body.append("box", JSON.stringify(box));
  try {
    const response = await send(area.dataset.post, body);
    if (!response || mine !== asked) return;
    put(found, await response.text());
    if (!draws) mark();
  } catch {
    if (mine === asked) found.replaceChildren(failure());
  } finally {
    if (mine === asked) found.setAttribute("aria-busy", "false");
  }
}

function mark() {
  const frame = at("frame");
  frame.replaceChildren();
  const faces = [...found.querySelectorAll("[data-box]")];
  faces.forEach((face, place) => {
    const [x, y, width, height] = face.dataset.box.split(" ").map(Number);
    for (const kind of ["under", face.dataset.known === "yes" ? "known" : "unknown"]) {
      frame.append(shape("rect", { x, y, width, height, rx: width / 20, class: kind }));
    }
    const size = Math.max(probe.naturalWidth / 28, width / 5);
    const number = shape("text", { x: x + size * 0.25, y: y + size, "font-size": size, "stroke-width": size / 6 });
    number.textContent = place + 1;
    frame.append(number);
    for (const canvas of face.querySelectorAll("canvas[data-probe]")) cut(canvas, x, y, width, height);
  });
}

/** The face as a square with some room around it, like the crops that are kept. */
function cut(canvas, x, y, width, height) {
  const side = Math.max(width, height) * 1.15;
  const left = x + width / 2 - side / 2;
  const top = y + height / 2 - side / 2;
  canvas.getContext("2d").drawImage(probe, left, top, side, side, 0, 0, canvas.width, canvas.height);
}

// ------------------------------------------------------------------------------------------ a box drawn on it

if (draws) {
  const viewer = at("viewer");
  const sides = ["x", "y", "width", "height"].map((side) => at(`box-${side}`));
  let start = null;

  const place = (event) => {
    const shown = probe.getBoundingClientRect();
    const scale = Math.min(shown.width / probe.naturalWidth, shown.height / probe.naturalHeight);
    const left = shown.left + (shown.width - probe.naturalWidth * scale) / 2;
    const top = shown.top + (shown.height - probe.naturalHeight * scale) / 2;
    const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
    return [within((event.clientX - left) / scale, probe.naturalWidth), within((event.clientY - top) / scale, probe.naturalHeight)];
  };
  viewer.addEventListener("pointerdown", (event) => {
    start = place(event);
    viewer.setPointerCapture(event.pointerId);
  });
  viewer.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = place(event);
    setBox([Math.min(x, start[0]), Math.min(y, start[1]), Math.abs(x - start[0]), Math.abs(y - start[1])]);
  });
  viewer.addEventListener("pointerup", () => {
    start = null;
    const box = theBox();
    if (box && box.width > 7 && box.height > 7) ask(box);
    else setBox(null);
  });
  viewer.addEventListener("pointercancel", () => { start = null; });
  for (const side of sides) side.addEventListener("input", outline);
  at("search-box").addEventListener("click", () => ask(theBox()));
  at("whole").addEventListener("click", () => {
    setBox(null);
    ask(null);
  });
}

function theBox() {
  const [x, y, width, height] = ["x", "y", "width", "height"].map((side) => Number(at(`box-${side}`).value));
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}

function setBox(values) {
  ["x", "y", "width", "height"].forEach((side, i) => { at(`box-${side}`).value = values ? values[i] : ""; });
  outline();
}

function outline() {
  const box = theBox();
  at("search-box").disabled = !box;
  at("frame").replaceChildren();
  if (box) for (const kind of ["under", "drawn"]) at("frame").append(shape("rect", { ...box, class: kind }));
}
