"use strict";
// Unpacks plotly.js, draws the charts in the page's colours, and draws them again when those change.
(async () => {
  const places = [...document.querySelectorAll("[data-chart]")];
  if (places.length === 0) return;
  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);

    const figures = document.getElementById("figures").textContent;
    const draw = () => {
      const style = getComputedStyle(document.documentElement);
      const coloured = (key, value) =>
        key.endsWith("color") && /^var\(--[\w-]+\)$/.test(value)
          ? style.getPropertyValue(value.slice(4, -1)).trim()
          : value;
      const drawn = JSON.parse(figures, coloured);
      for (const place of places) {
        const { data, layout } = drawn[place.dataset.chart];
        Plotly.react(place, data, layout, { displayModeBar: false, doubleClick: false, responsive: true });
      }
    };
    document.documentElement.classList.add("charted");
    draw();
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
  } catch (error) {
    // An old browser: the tables say the same.
    console.warn("The charts cannot be drawn here.", error);
    document.documentElement.classList.remove("charted");
    for (const table of document.querySelectorAll("details.numbers")) table.open = true;
  }
})();
