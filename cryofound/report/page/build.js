"use strict";
// The report of a build: models in their densities, one state at a time.

const PLACES = { correlation: 2, b_factor: 0, displacement: 1 };

function fill({ figures, states, drawn }) {
  const names = drawn.residues.label.map(escaped);
  for (const trace of figures.profiles.data) {
    trace.y = states[trace.meta.state][trace.meta.quantity];
    trace.text = names;
  }
}

function connect(viewer) {
  byId("plot-profiles").on("plotly_click", ({ points }) => {
    chooseState(points[0].data.meta.state);
    chooseResidue(points[0].pointIndex);
    byId("viewer-card").scrollIntoView({ block: "nearest" });
  });
  byId("density").addEventListener("change", (event) => change({ density: event.target.checked }));
  byId("mesh").addEventListener("change", (event) => change({ mesh: event.target.checked }));
  let waiting = false;
  byId("level").addEventListener("input", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; viewer.setLevel(Number(byId("level").value)); show(); });
  });
}

// Bring the controls and words of the page to what the viewer shows.
function show() {
  const { viewer, data } = page;
  const { state, frame, residue } = viewer.shown;
  const held = viewer.densities[state], here = data.states[state];
  showViewer(page, PLACES);
  byId("state-number").textContent = `${state + 1} of ${data.states.length} · ${here.resolution} Å · built from ${here.built_from}`;
  byId("no-density").hidden = Boolean(held);
  for (const id of ["density", "level", "mesh"]) byId(id).disabled = !held || frame !== null;
  if (held) {
    byId("level").max = held.step * 255;
    byId("level").min = byId("level").step = held.step;
    byId("level").value = viewer.levels[state];
    byId("level-value").textContent = `${viewer.levels[state].toFixed(2)} σ`;
  } else byId("level-value").textContent = "–";
  byId("chosen").textContent = residue === null ? "Click a residue in a plot or in the structure." : wordsOf(residue, here, data);
}

function wordsOf(residue, state, { drawn }) {
  return (
    drawn.residues.label[residue] +
    known(state.correlation[residue], 2, "CC ", "") +
    known(state.b_factor[residue], 0, "B ", " Å²") +
    known(state.displacement[residue], 2, "moved ", " Å")
  );
}

ready(openPage({ fill, connect, show }));
