// One histogram for each network; `show(record)` moves its bars.
function makeHistogram(data, texts, network) {
  const { counts, accuracy, beyond } = data.networks[network];
  const bytes = bytesOf(counts);
  const name = texts.names[network] ?? network;
  const bars = Array.from({ length: data.bins }, () => element("span"));
  const plot = element("div", { class: "plot", role: "img" }, ...bars);
  const height = (count) => `${100 * Math.sqrt(count / data.units)}%`;
  for (const share of [0.1, 0.5, 1]) {
    const level = element("b", {}, `${Math.round(share * data.units)}`);
    level.style.height = height(share * data.units);
    plot.append(level);
  }
  const inside = (value) => `${100 * (value - data.low) / (data.high - data.low)}%`;
  for (const border of [-4, 4]) {
    const line = element("i");
    line.style.left = inside(border);
    plot.append(line);
  }
  const ticks = element("div", { class: "ticks", "aria-hidden": "true" });
  for (const value of data.ticks) {
    const tick = element("span", {}, `${value}`.replace("-", "−"));
    tick.style.left = inside(value);
    ticks.append(tick);
  }
  const said = element("p", { class: "said" });
  const node = element("section", { "aria-label": name },
    element("p", { class: "name" }, name), said, plot, ticks);
  node.style.setProperty("--bar", `var(--${data.networks[network].color})`);
  const show = (record) => {
    bars.forEach((bar, bin) => {
      bar.style.height = height(bytes[record * data.bins + bin]);
    });
    const values = { accuracy: accuracy[record].toFixed(3), beyond: beyond[record], units: data.units };
    said.textContent = say(texts.said, values);
    plot.setAttribute("aria-label", say(texts.plot, { name, ...values }));
  };
  return { node, show };
}

function buildSlider(panel, data, texts) {
  const histograms = Object.keys(data.networks).map((name) => makeHistogram(data, texts, name));
  const last = data.steps.length - 1;
  const slider = element("input", { type: "range", min: 0, max: last, value: 0 });
  const step = element("output");
  const show = () => {
    const shown = data.steps[slider.value].toLocaleString(panel.lang);
    step.value = shown;
    slider.setAttribute("aria-valuetext", say(texts.step, { step: shown }));
    for (const histogram of histograms) histogram.show(Number(slider.value));
  };
  slider.addEventListener("input", show);
  panel.append(
    element("label", {}, element("span", {}, texts.slider, " ", step), slider),
    element("div", { class: "histograms" }, ...histograms.map(({ node }) => node)),
    element("p", { class: "note" }, say(texts.note, { units: data.units })));
  show();
  return { steps: data.steps };
}

makeLive("slide-over-steps", buildSlider);
