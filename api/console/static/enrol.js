// Enrols pictures one after another, each with its own answer, and takes some with the webcam under live hints.

import { failure, put, send, shape, takesFiles } from "./shared.js";

const LOOK_EVERY_MS = 1000;
const PROBE_SIDE = 640;

const area = document.querySelector("#enrol");
const texts = area.dataset;
const at = (id) => document.getElementById(id);
const subject = at("subject");
const queue = [];
let working = false;
let good = 0;
let bad = 0;

subject.value = sessionStorage.getItem("lookalike.subject") ?? "";
sessionStorage.removeItem("lookalike.subject");
takesFiles(at("drop"), at("files"), add);

function complain(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

function add(files) {
  const id = subject.value.trim().normalize("NFC");
  complain(!id ? texts.noSubject : id.includes("/") ? texts.badId : "");
  if (!id || id.includes("/")) {
    subject.focus();
    return;
  }
  for (const file of files) {
    const entry = { id, file, key: crypto.randomUUID(), ...row(file) };
    queue.push(entry);
    at("list").prepend(entry.item);
  }
  at("nothing").hidden = true;
  at("progress-area").hidden = false;
  tell();
  work();
}

function row(file) {
  const item = document.createElement("li");
  const picture = document.createElement("img");
  picture.alt = "";
  picture.src = URL.createObjectURL(file);
  picture.addEventListener("error", () => picture.removeAttribute("src"));
  const text = document.createElement("div");
  const name = document.createElement("p");
  name.className = "file";
  name.textContent = file.name;
  const state = document.createElement("div");
  state.className = "uploads-state small";
  state.textContent = texts.waiting;
  text.append(name, state);
  item.append(picture, text);
  return { item, state };
}

async function work() {
  if (working) return;
  working = true;
  while (queue.some((entry) => !entry.done)) {
    const entry = queue.find((one) => !one.done);
    const enrolled = await enrol(entry);
    if (enrolled === null) return;
    entry.done = true;
    if (enrolled) good += 1;
    else bad += 1;
    tell();
  }
  working = false;
}

async function enrol({ id, file, key, state }) {
  if (file.size > Number(texts.most)) {
    state.textContent = texts.tooLarge;
    return false;
  }
  state.textContent = texts.sending;
  const body = new FormData();
  body.append("images", file, file.name);
  const address = `${texts.subjects}/${encodeURIComponent(id)}/samples`;
  for (let attempt = 0; ; attempt += 1) {
    try {
      // The key makes a picture count once, also where an answer was lost on its way.
      const response = await send(address, body, { "idempotency-key": key });
      if (!response) return null;
      if (response.status === 503 && attempt < 4) {
        await new Promise((done) => setTimeout(done, 1000 * (attempt + 1)));
        continue;
      }
      put(state, await response.text());
      return response.ok;
    } catch {
      if (attempt < 2) continue;
      state.replaceChildren(failure());
      return false;
    }
  }
}

function tell() {
  at("progress").max = queue.length;
  at("progress").value = good + bad;
  const counts = { good, bad, all: queue.length };
  at("summary").textContent = texts.summary.replace(/\{(\w+)\}/g, (_, name) => counts[name]);
}

// ------------------------------------------------------------------------------------------------ the webcam

let stream = null;

at("open-camera").addEventListener("click", open);
at("close-camera").addEventListener("click", close);
at("take").addEventListener("click", take);

async function open() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
  } catch {
    complain(texts.noCamera);
    return;
  }
  complain("");
  at("camera").hidden = false;
  at("open-camera").disabled = true;
  at("video").srcObject = stream;
  await at("video").play();
  at("close-camera").focus();
  const faces = texts.faces === "yes";
  at("hint").hidden = !faces;
  at("take").disabled = faces;
  if (faces) watch();
}

function close() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("camera").hidden = true;
  at("take").disabled = true;
  at("open-camera").disabled = false;
  at("open-camera").focus();
}

async function watch() {
  while (stream) {
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    if (!stream || document.hidden) continue;
    try {
      const { blob, scale } = await still(PROBE_SIDE, 0.85);
      const body = new FormData();
      body.append("image", blob, "frame.jpg");
      const response = await send("/console/detect", body);
      if (!response) return;
      if (stream && response.ok) show(await response.json(), scale);
    } catch {
      // One look that failed says nothing; the next one comes soon.
    }
  }
}

function show({ good: fine, hints, box }, scale) {
  const video = at("video");
  const hint = at("hint");
  if (hint.textContent !== hints.join(" ")) hint.textContent = hints.join(" ");
  hint.classList.toggle("good", fine);
  at("take").disabled = !box;
  const frame = at("frame");
  frame.setAttribute("viewBox", `0 0 ${video.videoWidth} ${video.videoHeight}`);
  frame.replaceChildren();
  if (box) {
    const [x, y, width, height] = box.map((value) => value / scale);
    for (const kind of ["under", fine ? "known" : "unknown"]) frame.append(shape("rect", { x, y, width, height, class: kind }));
  }
}

async function still(longest, quality) {
  const video = at("video");
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
  return { blob, scale };
}

async function take() {
  const { blob } = await still(4096, 0.95);
  const number = queue.filter((entry) => entry.file.name.startsWith(texts.webcamName)).length + 1;
  add([new File([blob], `${texts.webcamName} ${number}.jpg`, { type: "image/jpeg" })]);
}
