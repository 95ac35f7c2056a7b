// Moves the line with the slider and says what the rate means, in words that the service chose.

const form = document.querySelector("#threshold");
if (form) {
  const at = (id) => document.getElementById(id);
  const choices = JSON.parse(form.dataset.choices);
  const left = Number(form.dataset.left);
  const width = Number(form.dataset.right) - left;
  const radios = [...form.querySelectorAll("input[name=rate]")];
  const slider = at("slider");

  const show = (place) => {
    const choice = choices[place];
    slider.value = place;
    slider.setAttribute("aria-valuetext", choice.alarms);
    radios[place].checked = true;
    at("bar").setAttribute("transform", `translate(${(760 * (choice.similarity - left)) / width} 0)`);
    at("bar-text").textContent = choice.similarity.toFixed(3);
    at("alarms").textContent = choice.alarms;
    at("bar-says").textContent = choice.bar;
    at("misses").textContent = choice.misses;
    at("source").textContent = choice.source;
    at("interval").textContent = choice.interval;
    const alarms = Number(at("traffic").value) * choice.rate;
    const said = alarms >= 10 ? Math.round(alarms).toLocaleString() : alarms.toLocaleString(undefined, { maximumSignificantDigits: 2 });
    at("per-day").textContent = Number.isFinite(alarms) ? form.dataset.traffic.replace("{alarms}", said) : "";
  };

  at("slider-area").hidden = false;
  at("traffic-area").hidden = false;
  slider.addEventListener("input", () => show(Number(slider.value)));
  at("traffic").addEventListener("input", () => show(Number(slider.value)));
  radios.forEach((radio, place) => radio.addEventListener("change", () => show(place)));
  show(Number(slider.value));
}
