"use strict";
// The report of a build: controls, plots and viewer joined.

const page = {};

const byId = (id) => document.getElementById(id);
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
const PLOT = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

async function start() {
  page.data = JSON.parse(byId("report-data").textContent);
  byId("tip").hidden = true;
  document.querySelectorAll("[data-tip]").forEach(explain);
  await loadLibrary("plotly");
  await drawPlots(page.data);
  await loadLibrary("3dmol");
  page.viewer = await StateViewer.create(byId("viewer"), page.data.drawn, page.data.states);
  page.viewer.picked = chooseResidue;
  connect(page.viewer, page.data);
  show();
}

async function drawPlots({ figures, states, drawn }) {
  const names = drawn.residues.label.map(escaped);
  for (const trace of figures.profiles.data) {
    trace.y = states[trace.meta.state][trace.meta.quantity];
    trace.text = names;
  }
  for (const [name, figure] of Object.entries(figures)) {
    const plot = byId(`plot-${name}`);
    plot.textContent = "";
    await Plotly.newPlot(plot, figure.data, figure.layout, PLOT);
  }
  byId("plot-profiles").on("plotly_click", ({ points }) => {
    if (!page.viewer) return;
    chooseState(points[0].data.meta.state);
    chooseResidue(points[0].pointIndex);
    byId("viewer-card").scrollIntoView({ block: "nearest" });
  });
}

function connect(viewer, { states, drawn }) {
  const many = states.length > 1;
  byId("state").max = states.length - 1;
  byId("state").addEventListener("input", (event) => chooseState(Number(event.target.value)));
  byId("previous").addEventListener("click", () => chooseState(Math.max(viewer.shown.state - 1, 0)));
  byId("next").addEventListener("click", () => chooseState(Math.min(viewer.shown.state + 1, states.length - 1)));
  byId("together").addEventListener("change", (event) => {
    change({ together: event.target.checked, frame: null });
    viewer.reset();
  });
  byId("density").addEventListener("change", (event) => change({ density: event.target.checked }));
  byId("mesh").addEventListener("change", (event) => change({ mesh: event.target.checked }));
  byId("side-chains").addEventListener("change", (event) => change({ sideChains: event.target.checked }));
  byId("colouring").addEventListener("change", (event) => change({ colouring: event.target.value }));
  byId("reset").addEventListener("click", () => { change({ residue: null }); viewer.reset(); });
  let waiting = false;
  byId("level").addEventListener("input", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; viewer.setLevel(Number(byId("level").value)); show(); });
  });
  byId("many").hidden = !many;
  byId("path-controls").hidden = !drawn.path;
  if (drawn.path) {
    byId("frame").max = drawn.path.place.length - 1;
    byId("frame").addEventListener("input", (event) => { pause(); change({ frame: Number(event.target.value) }, false); });
    byId("play").addEventListener("click", () => { viewer.playing ? pause() : viewer.play(show); show(); });
  }
}

function pause() {
  page.viewer.pause();
}

// `leave`: a morph ends when something else is asked for.
function change(what, leave = "frame" in what) {
  if (leave) pause();
  page.viewer.set(what);
  show();
}

function chooseState(state) {
  change({ state, frame: null });
}

function chooseResidue(residue) {
  pause();
  page.viewer.focus(residue);
  show();
}

// Bring the controls and words of the page to what the viewer shows.
function show() {
  const { viewer, data } = page;
  const { state, together, frame, colouring, residue } = viewer.shown;
  const held = viewer.densities[state], here = data.states[state];
  byId("state").value = state;
  byId("state-name").textContent = here.id;
  byId("state-number").textContent = `${state + 1} of ${data.states.length} · ${here.resolution} Å · built from ${here.built_from}`;
  byId("together").checked = together;
  byId("colouring").disabled = together;
  byId("legend").replaceChildren(...legend(viewer, data, together ? "state" : colouring));
  byId("no-density").hidden = Boolean(held);
  for (const id of ["density", "level", "mesh"]) byId(id).disabled = !held || frame !== null;
  if (held) {
    byId("level").max = held.step * 255;
    byId("level").min = byId("level").step = held.step;
    byId("level").value = viewer.levels[state];
    byId("level-value").textContent = `${viewer.levels[state].toFixed(2)} σ`;
  } else byId("level-value").textContent = "–";
  byId("play").textContent = viewer.playing ? "Pause" : "Play";
  byId("frame-place").textContent = frame === null ? "" : placeOf(frame, data);
  if (frame !== null) byId("frame").value = frame;
  byId("chosen").textContent = residue === null ? "Click a residue in a plot or in the structure." : wordsOf(residue, here, data);
}

function placeOf(frame, { states, drawn }) {
  const place = drawn.path.place[frame], first = Math.min(Math.floor(place), states.length - 2);
  const part = Math.round(100 * (place - first));
  return part === 0 ? states[first].id : part === 100 ? states[first + 1].id : `${part} % from ${states[first].id} to ${states[first + 1].id}`;
}

function wordsOf(residue, state, { drawn }) {
  const known = (value, places, before, after) => (value === null ? "" : ` · ${before}${value.toFixed(places)}${after}`);
  return (
    drawn.residues.label[residue] +
    known(state.correlation[residue], 2, "CC ", "") +
    known(state.b_factor[residue], 0, "B ", " Å²") +
    known(state.displacement[residue], 2, "moved ", " Å")
  );
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function legend(viewer, { states, drawn }, colouring) {
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
  const [low, high] = viewer.ranges[colouring], places = { correlation: 2, b_factor: 0, displacement: 1 }[colouring];
  const bar = element("span", "scale");
  bar.style.background = `linear-gradient(to right, ${SCALES[colouring].join(",")})`;
  return [element("span", "", low.toFixed(places)), bar, element("span", "", high.toFixed(places))];
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

start().then(
  () => { document.body.dataset.ready = "yes"; },
  (error) => {
    byId("trouble").hidden = false;
    byId("trouble").textContent = `The 3D view cannot be shown here (${error.message}). It needs WebGL and a browser of 2023 or later; the table below is complete.`;
    document.body.dataset.ready = "failed";
  },
);
