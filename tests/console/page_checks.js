// What every page must be for somebody who cannot see it, or sees it badly: the faults that are found, in words.
() => {
  const faults = [];
  const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest(".unseen, .skip");
  const told = (e) => (e.outerHTML.length > 160 ? `${e.outerHTML.slice(0, 160)}…` : e.outerHTML);

  const name = (e) => {
    const by = e.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
    const label = e.getAttribute("aria-label") ?? [...(e.labels ?? [])].map((l) => l.textContent).join(" ");
    return (label || e.getAttribute("alt") || e.textContent || "").trim();
  };
  for (const e of document.querySelectorAll("input:not([type=hidden]), textarea, select, button, a[href], summary, progress, output"))
    if (!name(e) && e.localName !== "output") faults.push(`no name: ${told(e)}`);
  for (const e of document.querySelectorAll("input:not([type=hidden]), textarea, select"))
    if (!e.labels?.length && !e.getAttribute("aria-label")) faults.push(`no label: ${told(e)}`);
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) faults.push(`no alt: ${told(e)}`);
  for (const e of document.querySelectorAll("svg")) {
    if (e.getAttribute("aria-hidden") !== "true" && e.getAttribute("role") !== "img") faults.push(`unexplained: ${told(e)}`);
  }

  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`id twice: ${id}`);
  for (const attribute of ["aria-labelledby", "aria-describedby", "for"])
    for (const e of document.querySelectorAll(`[${attribute}]`))
      for (const id of e.getAttribute(attribute).split(" ")) if (!document.getElementById(id)) faults.push(`${attribute} of nothing: ${told(e)}`);

  const heads = [...document.querySelectorAll("h1, h2, h3, h4")].filter((e) => e.checkVisibility());
  if (heads.filter((e) => e.localName === "h1").length !== 1) faults.push("not one h1");
  heads.reduce((before, e) => {
    const level = Number(e.localName[1]);
    if (level > before + 1) faults.push(`a level is skipped: ${told(e)}`);
    return level;
  }, 0);
  for (const one of ["main", "header", "footer"]) if (document.querySelectorAll(one).length !== 1) faults.push(`not one ${one}`);
  const navs = [...document.querySelectorAll("nav")].map(name);
  if (new Set(navs).size !== navs.length) faults.push("two navs of one name");
  for (const e of document.querySelectorAll("table")) if (!e.caption || !e.querySelector("th[scope]")) faults.push(`bare table: ${told(e)}`);
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push("wider than the window");

  // Contrast as WCAG 2.2 counts it, 1.4.3: 4.5 to 1, or 3 to 1 for large text; what is disabled is exempt.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => (i === 3 ? v / 255 : v));
  };
  const over = (top, below) => below.map((v, i) => (i === 3 ? 1 : top[i] * top[3] + v * (1 - top[3])));
  const ground = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduce((below, top) => over(top, below), rgba("Canvas"));
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !shown(e) || e.closest(":disabled, script, noscript, title, desc, svg[aria-hidden]")) continue;
    const style = getComputedStyle(e);
    const under = ground(e);
    let ink = rgba(e.closest("svg") ? style.fill : style.color);
    for (let at = e; at; at = at.parentElement) ink[3] *= Number(getComputedStyle(at).opacity);
    ink = over(ink, under);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${told(e)}`);
  }

  // WCAG 2.2, 2.5.8: what is pressed is 24 pixels high and wide, links within text apart.
  for (const e of document.querySelectorAll("button, .button, nav a, summary")) {
    const box = e.getBoundingClientRect();
    const inText = e.closest(".crumbs");
    if (shown(e) && !inText && (box.width < 24 || box.height < 24)) faults.push(`small to press: ${told(e)}`);
  }
  return faults;
}
