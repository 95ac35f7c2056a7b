// What the scripts share: pieces of pages and how they are asked for, files that are dropped, times in the reader's zone.

const policy = window.trustedTypes?.createPolicy("lookalike", { createHTML: (text) => text });

/** Put a piece of a page into an element. The piece was rendered, and escaped, by this service. */
export function put(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html;
  dress(element);
}

/** Send a form by script. Resolves to the response, or to none once the session has ended and the page is left. */
export async function send(address, body, headers = {}) {
  const token = document.body.dataset.csrf;
  const response = await fetch(address, { method: "POST", body, headers: { "x-csrf-token": token, ...headers } });
  if (response.status === 401) {
    location.assign(`${document.body.dataset.signIn}?next=${encodeURIComponent(location.pathname)}`);
    return null;
  }
  return response;
}

/** What to say where nothing could be reached. */
export function failure() {
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = document.body.dataset.failed;
  return notice;
}

/** Hand on files that are chosen, dropped or pasted. */
export function takesFiles(drop, input, take) {
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  // A picture that misses its place must not make the browser leave the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take([...event.clipboardData.files]);
  });
}

/** An element of SVG with attributes. */
export function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Say times in the reader's own zone, and name pictures that are not kept. */
export function dress(root) {
  for (const time of root.querySelectorAll("time[data-moment]")) {
    const moment = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
  for (const picture of root.querySelectorAll("img[data-gone]")) {
    picture.addEventListener("error", () => {
      picture.alt = picture.dataset.gone;
    });
  }
}
