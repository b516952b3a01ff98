"use strict";
// The report of an ensemble: its samples in the order of a motion, and how sure each residue is.

const PLACES = { uncertainty: 2, rmsf: 2, displacement: 2 };

function fill({ figures, residues, states, drawn }) {
  for (const state of states) Object.assign(state, residues); // alike in all samples
  const names = drawn.residues.label.map(escaped);
  for (const trace of figures.profiles.data.filter(({ meta }) => meta)) {
    trace.y = residues[trace.meta.quantity];
    trace.text = names;
  }
}

function connect(viewer) {
  viewer.set({ colouring: byId("colouring").value });
  byId("plot-profiles").on("plotly_click", ({ points }) => { chooseResidue(points[0].pointIndex); inSight(); });
  byId("plot-motions").on("plotly_click", ({ points }) => {
    if (points[0].customdata < 0) return;
    chooseState(points[0].customdata);
    inSight();
  });
  document.querySelectorAll("[data-state]").forEach((button) => {
    button.addEventListener("click", () => { chooseState(Number(button.dataset.state)); inSight(); });
  });
}

function inSight() {
  byId("viewer-card").scrollIntoView({ block: "nearest" });
}

// Bring the controls and words of the page to what the viewer shows.
function show() {
  const { viewer, data } = page;
  const { state, residue, beside } = viewer.shown;
  const here = data.states[state];
  showViewer(page, PLACES);
  byId("beside").checked = beside;
  byId("state-number").textContent = `${state + 1} of ${data.states.length}${here.told ? ` · motion 1: ${here.told}` : ""}`;
  byId("chosen").textContent = residue === null ? "Click a residue in a plot or in the structure." : wordsOf(residue, here, data);
}

function wordsOf(residue, state, { drawn, residues }) {
  return (
    drawn.residues.label[residue] +
    known(residues.uncertainty[residue], 2, "uncertain by ", " Å") +
    known(residues.rmsf[residue], 2, "RMSF ", " Å") +
    known(state.displacement[residue], 2, "here ", " Å from the reference")
  );
}

ready(openPage({ fill, connect, show }));
