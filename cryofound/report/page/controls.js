"use strict";
// What the pages have in common: plots, explanations, legends, and the viewer's controls of states, path and colours.

const page = {};

const byId = (id) => document.getElementById(id);
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
const PLOT = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

// `fill` completes the figures by what the page holds already; `connect` and `show` are the page's own.
async function openPage({ fill, connect, show }) {
  page.data = JSON.parse(byId("report-data").textContent);
  page.show = show;
  byId("tip").hidden = true;
  document.querySelectorAll("[data-tip]").forEach(explain);
  await loadLibrary("plotly");
  fill(page.data);
  for (const [name, figure] of Object.entries(page.data.figures)) {
    const plot = byId(`plot-${name}`);
    plot.textContent = "";
    await Plotly.newPlot(plot, figure.data, figure.layout, PLOT);
  }
  await loadLibrary("3dmol");
  page.viewer = await StateViewer.create(byId("viewer"), page.data.drawn, page.data.states);
  page.viewer.picked = chooseResidue;
  connectViewer(page.viewer, page.data);
  connect(page.viewer, page.data);
  show();
}

function connectViewer(viewer, { states, drawn }) {
  const many = states.length > 1;
  byId("state").max = states.length - 1;
  byId("state").addEventListener("input", (event) => chooseState(Number(event.target.value)));
  byId("previous").addEventListener("click", () => chooseState(Math.max(viewer.shown.state - 1, 0)));
  byId("next").addEventListener("click", () => chooseState(Math.min(viewer.shown.state + 1, states.length - 1)));
  byId("together").addEventListener("change", (event) => {
    change({ together: event.target.checked, frame: null });
    viewer.reset();
  });
  byId("side-chains").addEventListener("change", (event) => change({ sideChains: event.target.checked }));
  if (drawn.beside) byId("beside").addEventListener("change", (event) => change({ beside: event.target.checked }));
  byId("colouring").addEventListener("change", (event) => change({ colouring: event.target.value }));
  byId("reset").addEventListener("click", () => { change({ residue: null }); viewer.reset(); });
  byId("many").hidden = !many;
  byId("path-controls").hidden = !drawn.path;
  if (drawn.path) {
    byId("frame").max = drawn.path.place.length - 1;
    byId("frame").addEventListener("input", (event) => { pause(); change({ frame: Number(event.target.value) }, false); });
    byId("play").addEventListener("click", () => { viewer.playing ? pause() : viewer.play(page.show); page.show(); });
  }
}

function pause() {
  page.viewer.pause();
}

// `leave`: a path ends when something else is asked for.
function change(what, leave = "frame" in what) {
  if (leave) pause();
  page.viewer.set(what);
  page.show();
}

function chooseState(state) {
  change({ state, frame: null });
}

function chooseResidue(residue) {
  pause();
  page.viewer.focus(residue);
  page.show();
}

// Bring the controls that all pages have to what the viewer shows; `places`: decimals of each quantity in a legend.
function showViewer({ viewer, data }, places) {
  const { state, together, frame, colouring } = viewer.shown;
  byId("state").value = state;
  byId("state-name").textContent = data.states[state].id;
  byId("together").checked = together;
  byId("colouring").disabled = together;
  byId("legend").replaceChildren(...legend(viewer, data, together ? "state" : colouring, places));
  byId("play").textContent = viewer.playing ? "Pause" : "Play";
  byId("frame-place").textContent = frame === null ? "" : placeOf(frame, data);
  if (frame !== null) byId("frame").value = frame;
}

function placeOf(frame, { states, drawn }) {
  const place = drawn.path.place[frame], first = Math.min(Math.floor(place), states.length - 2);
  const part = Math.round(100 * (place - first));
  return part === 0 ? states[first].id : part === 100 ? states[first + 1].id : `${part} % from ${states[first].id} to ${states[first + 1].id}`;
}

const UNITS = { b_factor: " Å²", displacement: " Å", uncertainty: " Å", rmsf: " Å" };
const known = (value, places, before, after) => (value === null ? "" : ` · ${before}${value.toFixed(places)}${after}`);

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function legend(viewer, { states, drawn }, colouring, places) {
  const swatch = (colour, text) => {
    const made = element("span", "swatch"), patch = element("i", "");
    patch.style.background = colour;
    made.append(patch, text);
    return made;
  };
  if (colouring === "state") return states.map((state) => swatch(state.colour, state.id));
  if (colouring === "chain") {
    return drawn.chains.slice(0, 24).map((chain, row) => swatch(CHAIN_COLOURS[row % CHAIN_COLOURS.length], chain));
  }
  const [low, high] = viewer.ranges[colouring];
  const bar = element("span", "scale");
  bar.style.background = `linear-gradient(to right, ${SCALES[colouring].join(",")})`;
  const unit = UNITS[colouring] || "";
  const told = (value) => element("span", "", value.toFixed(places[colouring]) + unit);
  return [told(low), bar, told(high), ...(FROM_ZERO.includes(colouring) ? [element("span", "", "and more")] : [])];
}

// Explanations of scores: shown beside what is pointed at or has the focus.
function explain(target) {
  const tip = byId("tip");
  const shown = () => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = target.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, window.innerWidth - tip.offsetWidth - 16))}px`;
    const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
    tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
  };
  const hidden = () => { tip.hidden = true; };
  target.addEventListener("mouseenter", shown);
  target.addEventListener("focus", shown);
  target.addEventListener("mouseleave", hidden);
  target.addEventListener("blur", hidden);
}

function ready(opening) {
  opening.then(
    () => { document.body.dataset.ready = "yes"; },
    (error) => {
      byId("trouble").hidden = false;
      byId("trouble").textContent = `The 3D view cannot be shown here (${error.message}). It needs WebGL and a browser of 2023 or later; the table below is complete.`;
      document.body.dataset.ready = "failed";
    },
  );
}
