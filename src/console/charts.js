// Curves over the last hour, drawn by uPlot in the page's own colours.

import { h } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function utc(seconds, precision) {
  return new Date(seconds * 1000).toISOString().slice(11, precision === "seconds" ? 19 : 16);
}

function options({ series, format }, width) {
  const axis = {
    stroke: colour("muted"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  return {
    width,
    height: 190,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 5 } },
    scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1e-3) * 1.1] } },
    axes: [
      { ...axis, size: 30, values: (_, ticks, __, ___, step) => ticks.map((at) => utc(at, step < 60 ? "seconds" : "minutes")) },
      { ...axis, size: 64, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      { label: "UTC", value: (_, at) => (at === null ? "–" : utc(at, "seconds")) },
      ...series.map(({ label, tone, dash }) => ({
        label,
        stroke: colour(tone),
        width: 1.5,
        dash,
        points: { size: 4 },
        value: (_, value) => (value === null || value === undefined ? "–" : format(value)),
      })),
    ],
  };
}

/** A chart: `series` of `{label, tone, dash}`; `set` takes seconds and as many lists of values as there are series, and a sentence. */
export function chart(context, title, { series, format }) {
  const place = h("div", { class: "plot" });
  const said = h("figcaption", null, h("strong", null, title), " ", h("span", { class: "said" }));
  const element = h("figure", { class: "chart" }, said, place);
  let [plot, data, frame] = [null, null, 0];
  const draw = () => {
    plot?.destroy();
    plot = null;
    const width = place.clientWidth;
    if (!data || width < 50) return;
    plot = new uPlot(options({ series, format }, width), data, place);
  };
  const resized = new ResizeObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => (plot ? plot.setSize({ width: place.clientWidth, height: 190 }) : draw()));
  });
  resized.observe(place);
  dark.addEventListener("change", draw, { signal: context.signal });
  context.signal.addEventListener("abort", () => {
    resized.disconnect();
    plot?.destroy();
  });
  return {
    element,
    set(found, sentence) {
      data = found;
      said.querySelector(".said").textContent = sentence;
      if (plot) plot.setData(data);
      else draw();
    },
  };
}
